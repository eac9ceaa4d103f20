//! Connects the server to the simulated cluster: the master and the sandboxes as the server sees them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture, ready};
use tokio::sync::{Notify, mpsc};

use super::cluster::{Cluster, short_id};
use super::faulty_store::{CrashPoint, OpOutcome};
use borges_mesos::messages::scheduler::call::Type;
use borges_mesos::{
    Call, Chunk, Event, Master, MasterError, Sandbox, SandboxError, SandboxFile, SandboxLocation,
    Subscription,
};

/// The master and the sandboxes behind the interfaces of the server.
#[derive(Clone)]
pub(super) struct SimulatedCluster {
    pub(super) cluster: Rc<RefCell<Cluster>>,
    pub(super) wake: Rc<Notify>,
    pub(super) crash_point: Arc<CrashPoint>,
}

impl Master for SimulatedCluster {
    fn subscribe(&mut self, _: Call) -> LocalBoxFuture<'static, Result<Subscription, MasterError>> {
        let timeout_error = || MasterError::Timeout { master: "m".to_owned() };
        let outcome = self.crash_point.record(|| "subscribe".to_owned());
        if !matches!(outcome, OpOutcome::Applied) {
            return ready(Err(timeout_error())).boxed_local();
        }
        let (sender, mut receiver) = mpsc::unbounded_channel::<Event>();
        let mut cluster = self.cluster.borrow_mut();
        let is_open = cluster.subscribe(sender);
        let now = cluster.now;
        cluster.oracle.log(now, || format!("→ subscribe: {is_open}"));
        self.wake.notify_one();
        let events = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let events = events.map(Ok).boxed_local();
        ready(if is_open { Ok(Subscription { events }) } else { Err(timeout_error()) }).boxed_local()
    }

    fn call(&mut self, call: Call) -> LocalBoxFuture<'static, Result<(), MasterError>> {
        let description = describe_call(&call);
        let timeout_error = || MasterError::Timeout { master: "m".to_owned() };
        let outcome = self.crash_point.record(|| description.clone());
        if matches!(outcome, OpOutcome::Failed | OpOutcome::Dropped) {
            return ready(Err(timeout_error())).boxed_local();
        }
        let mut cluster = self.cluster.borrow_mut();
        let now = cluster.now;
        if !description.starts_with("decline") {
            cluster.oracle.log(now, || format!("→ {description}"));
        }
        match Type::try_from(call.r#type.unwrap_or_default()) {
            Ok(Type::Accept) => cluster.oracle.on_accept(&launches(&call)),
            Ok(Type::Acknowledge) => {
                let acknowledged = call.acknowledge.as_ref().expect("invariant: the call matches its type");
                if let Some(update) = cluster.acknowledged(&acknowledged.task_id.value, &acknowledged.uuid) {
                    cluster.oracle.on_acknowledge(&update);
                }
            }
            _ => {}
        }
        cluster.call(call);
        self.wake.notify_one();
        ready(Ok(())).boxed_local()
    }
}

impl Sandbox for SimulatedCluster {
    fn read(
        &self,
        location: &SandboxLocation,
        path: &str,
        _: u64,
        _: usize,
    ) -> LocalBoxFuture<'static, Result<Chunk, SandboxError>> {
        let launch = &location.executor;
        let outcome = self.crash_point.record(|| format!("read {path} of {}", short_id(launch)));
        let cluster = self.cluster.borrow();
        let is_reachable = cluster.is_reachable(launch) && outcome == OpOutcome::Applied;
        let read = match cluster.oracle.exit_file(launch) {
            _ if !is_reachable => Err(SandboxError::Unreachable {
                agent: location.agent.clone(),
                message: "not now".to_owned(),
            }),
            Some(text) => Ok(Chunk { offset: 0, size: text.len() as u64, bytes: Bytes::from(text) }),
            None => Err(SandboxError::Missing(path.to_owned())),
        };
        ready(read).boxed_local()
    }

    fn list(
        &self,
        _: &SandboxLocation,
        path: &str,
    ) -> LocalBoxFuture<'static, Result<Vec<SandboxFile>, SandboxError>> {
        ready(Err(SandboxError::Missing(path.to_owned()))).boxed_local()
    }
}

/// The launches of an ACCEPT, and their agents.
pub(super) fn launches(call: &Call) -> Vec<(String, String)> {
    let accept = call.accept.as_ref().expect("invariant: the call matches its type");
    let tasks = accept.operations.iter().flat_map(|o| o.launch.iter().flat_map(|l| &l.task_infos));
    tasks.map(|task| (task.task_id.value.clone(), task.agent_id.value.clone())).collect()
}

pub(super) fn describe_call(call: &Call) -> String {
    let kind = Type::try_from(call.r#type.unwrap_or_default()).expect("a kind").as_str_name().to_lowercase();
    let launches_of_call: Vec<String> = match (&call.accept, &call.acknowledge, &call.kill, &call.reconcile) {
        (Some(_), ..) => launches(call).into_iter().map(|(launch, _)| launch).collect(),
        (_, Some(call), ..) => vec![call.task_id.value.clone()],
        (_, _, Some(call), _) => vec![call.task_id.value.clone()],
        (.., Some(call)) => call.tasks.iter().map(|task| task.task_id.value.clone()).collect(),
        _ => Vec::new(),
    };
    let launches_of_call: Vec<&str> = launches_of_call.iter().map(|launch| short_id(launch)).collect();
    format!("{kind} {}", launches_of_call.join(" "))
}
