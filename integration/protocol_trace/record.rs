//! The recorder, and the run that it records, on any cluster.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use borges_engine::{Engine, EngineParts, Submission};
use borges_mesos::messages::Offer;
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::{Call, Event, Master, MasterError, Subscription};
use borges_org as org;
use borges_plan::{PlanOptions, plan};
use borges_store::LoggedEvent;
use borges_task::{RunState, State};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};
use support::poll::{DEADLINE, poll_until_async};

/// The recorded calls and events.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// What concerns no launch and no offer, in order; consecutive repetitions are noted once.
    pub(crate) general: Vec<String>,
    /// By launch, in order.
    pub(crate) launches: BTreeMap<String, Vec<String>>,
    /// The answers to each offer.
    pub(crate) offers: BTreeMap<String, Vec<String>>,
}

impl Record {
    fn general(&mut self, line: &str) {
        if self.general.last().is_none_or(|last| last != line) {
            self.general.push(line.to_owned());
        }
    }

    fn about(&mut self, launch: &str, line: String) {
        self.launches.entry(launch.to_owned()).or_default().push(line);
    }

    fn call(&mut self, call: &Call) {
        let kind = Type::try_from(call.r#type.unwrap()).unwrap();
        let name = kind.as_str_name();
        match kind {
            Type::Accept => {
                let accept = call.accept.as_ref().unwrap();
                for offer in &accept.offer_ids {
                    self.offers.entry(offer.value.clone()).or_default().push(name.to_owned());
                }
                let tasks = accept.operations.iter().filter_map(|operation| operation.launch.as_ref());
                for task in tasks.flat_map(|launch| &launch.task_infos) {
                    self.about(&task.task_id.value, format!("→ {name}"));
                }
            }
            Type::Decline => {
                for offer in &call.decline.as_ref().unwrap().offer_ids {
                    self.offers.entry(offer.value.clone()).or_default().push(name.to_owned());
                }
            }
            Type::Acknowledge => {
                self.about(&call.acknowledge.as_ref().unwrap().task_id.value, format!("→ {name}"));
            }
            Type::Kill => self.about(&call.kill.as_ref().unwrap().task_id.value, format!("→ {name}")),
            Type::Revive | Type::Suppress => {}
            _ => self.general(&format!("→ {name}")),
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Subscribed { .. } => self.general("← SUBSCRIBED"),
            Event::Offers(offers) => {
                for Offer { id, .. } in offers {
                    let answers = self.offers.entry(id.value.clone()).or_default();
                    assert!(answers.is_empty(), "the offer {} is made twice", id.value);
                }
            }
            Event::Update(update) => {
                let reason = update.reason.map(|reason| format!(" {}", reason.name())).unwrap_or_default();
                // Which directories were searched is the machine's business.
                let said = update.message.as_deref().and_then(|message| message.split(" on PATH ").next());
                let message = said.map(|said| format!(" “{said}”")).unwrap_or_default();
                self.about(&update.launch, format!("← UPDATE {}{reason}{message}", update.state.name()));
            }
            Event::Heartbeat => {}
            other => self.general(&format!("← {other:?}")),
        }
    }
}

pub(crate) struct Recorder<M> {
    pub(crate) master: M,
    pub(crate) record: Rc<RefCell<Record>>,
}

impl<M: Master> Master for Recorder<M> {
    fn subscribe(&mut self, call: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        self.record.borrow_mut().call(&call);
        let record = self.record.clone();
        let subscription = self.master.subscribe(call);
        async move {
            let events = subscription.await?.events.inspect(move |event| {
                if let Ok(event) = event {
                    record.borrow_mut().event(event);
                }
            });
            Ok(Subscription { events: events.boxed_local() })
        }
        .boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        self.record.borrow_mut().call(&call);
        self.master.call(call)
    }
}

const DOCUMENT: &str = "\
#+name: well
#+begin_src sh
echo well
#+end_src

#+name: badly
#+begin_src sh
exit 3
#+end_src

#+name: again
#+begin_src sh :retry 2 :backoff 1ms
test \"$BORGES_ATTEMPT\" = 3 || exit 75
#+end_src

#+name: endless
#+begin_src sh
touch BEGUN
exec sleep 1000
#+end_src

#+name: unknown
#+begin_src nobody :requires well
#+end_src
";

/// Runs the document on the cluster behind `master`; kills the task `endless` once it has begun. What each block
/// came to, in order.
pub(crate) async fn run(parts: EngineParts) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let begun = directory.path().join("begun");
    let source = Bytes::from(DOCUMENT.replace("BEGUN", begun.to_str().unwrap()));
    let mut request = PlanOptions::default();
    request.languages.add("nobody no-such-interpreter").unwrap();
    let plan = plan(&source, &org::parse(&source, &[]), &request).unwrap();
    let (engine, _breaks) = Engine::start(parts).unwrap();
    let mut entries = engine.subscribe(None).events();
    let submission = Submission {
        title: "recorded.org".to_owned(),
        document: source,
        plan,
        key: None,
        caching: borges_plan::CacheMode::OptIn,
    };
    engine.submit(submission).await.unwrap();
    let mut ends = BTreeMap::new();
    loop {
        match entries.next().await.unwrap() {
            LoggedEvent::Task(frame) if &*frame.block == "endless" && frame.state == State::Running => {
                // It runs as soon as what runs it does.
                poll_until_async(DEADLINE, "the block `endless` has begun", async || begun.exists()).await;
                assert!(engine.kill_task(frame.task).await.unwrap());
            }
            LoggedEvent::Task(frame) if frame.state.is_terminal() => {
                let end = format!("{}: {}, exit code {:?}", frame.block, frame.state, frame.exit_code);
                ends.insert(frame.task.number, end);
            }
            LoggedEvent::Task(_) => {}
            LoggedEvent::Run(ended) => {
                assert_eq!(ended.state, RunState::Failed);
                break;
            }
        }
    }
    // What is still on its way: the last acknowledgement was sent before the last end was told.
    engine.disconnect().await.unwrap();
    ends.into_values().collect()
}
