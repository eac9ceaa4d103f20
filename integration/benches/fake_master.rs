//! A master that only sends events and counts calls, for a scheduler that uses protobuf or JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use borges_mesos::Call;
use borges_mesos::messages::scheduler::{Event, call, event};
use borges_mesos::messages::{AgentId, FrameworkId, Offer, OfferId, TaskId, TaskState, TaskStatus};
use borges_mesos::recordio;
use borges_mesos::resources::Quantities;
use bytes::{Bytes, BytesMut};
use prost::Message;
use serde_json::{Value, json};

use crate::message;

pub(crate) const UPDATES: usize = 100_000;
/// The number of tasks.
pub(crate) const TASKS: usize = 1_000;
/// The number of offers in an event.
pub(crate) const BATCHES: usize = 1_000;
pub(crate) const OFFERS: usize = 100;

/// The encoding of a stream.
#[derive(Clone, Copy)]
pub(crate) enum WireFormat {
    Protobuf,
    Json,
}

/// The calls so far.
#[derive(Default)]
struct CallCounts {
    acknowledged: AtomicUsize,
    /// Counts offers, not calls.
    declined: AtomicUsize,
    launches: Mutex<Vec<String>>,
}

/// A master that sends events and counts calls.
pub(crate) struct FakeMaster {
    pub(crate) address: String,
    heard: Arc<CallCounts>,
    subscriptions: Receiver<TcpStream>,
    stream: Option<TcpStream>,
}

/// The time in which a contender must answer everything.
const PATIENCE: Duration = Duration::from_secs(300);

impl FakeMaster {
    pub(crate) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(message)?;
        let address = listener.local_addr().map_err(message)?.to_string();
        let heard = Arc::<CallCounts>::default();
        let (tell, subscriptions) = mpsc::channel();
        let counts = heard.clone();
        // It ends with the program: a few threads that wait.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, heard) = (tell.clone(), counts.clone());
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &tell, &heard) {
                        eprintln!("benchmark 11: a connection ended: {error}");
                    }
                });
            }
        });
        Ok(Self { address, heard, subscriptions, stream: None })
    }

    /// Waits for a subscription, and accepts it.
    pub(crate) fn subscribed(&mut self) -> Result<(), String> {
        let stream = self.subscriptions.recv_timeout(PATIENCE).map_err(|_| "nobody subscribes".to_owned())?;
        self.stream = Some(stream);
        Ok(())
    }

    fn say(&mut self, records: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("nobody is subscribed")?;
        chunk(stream, records).map_err(message)
    }

    pub(crate) fn offer_all(&mut self, spoken: WireFormat) -> Result<(), String> {
        let before = self.heard.declined.load(Ordering::Relaxed);
        for batch in 0..BATCHES {
            self.say(&match spoken {
                WireFormat::Protobuf => record(&offers_event(batch).encode_to_vec()),
                WireFormat::Json => record(offers_json(batch).to_string().as_bytes()),
            })?;
        }
        self.wait("declined", |heard| heard.declined.load(Ordering::Relaxed) - before >= BATCHES * OFFERS)
    }

    pub(crate) fn tell_all(&mut self, launches: &[String], spoken: WireFormat) -> Result<(), String> {
        let before = self.heard.acknowledged.load(Ordering::Relaxed);
        for (number, launch) in (0..UPDATES).zip(launches.iter().cycle()) {
            self.say(&match spoken {
                WireFormat::Protobuf => record(&update(launch, number).encode_to_vec()),
                WireFormat::Json => record(update_json(launch, number).to_string().as_bytes()),
            })?;
        }
        self.wait("acknowledged", |heard| heard.acknowledged.load(Ordering::Relaxed) - before >= UPDATES)
    }

    /// Offers enough for all tasks; the launches.
    pub(crate) fn launches(&mut self) -> Result<Vec<String>, String> {
        let free = Quantities { milli_cpus: 100_000, mem_mib: 1_000_000, ..Quantities::default() };
        let offers = vec![offer(BATCHES * OFFERS, &free)];
        self.say(&record(&offers_of(offers).encode_to_vec()))?;
        let all = |heard: &CallCounts| heard.launches.lock().is_ok_and(|launches| launches.len() >= TASKS);
        self.wait("launched", all)?;
        Ok(self.heard.launches.lock().map_err(message)?.clone())
    }

    fn wait(&self, what: &str, holds: impl Fn(&CallCounts) -> bool) -> Result<(), String> {
        let clock = borges_clock::Clock::system();
        while !holds(&self.heard) {
            if clock.elapsed() > PATIENCE {
                return Err(format!("not all was {what} within {PATIENCE:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Answers the requests of a connection; passes on the connection of a subscription.
fn serve(stream: TcpStream, tell: &Sender<TcpStream>, heard: &CallCounts) -> Result<(), String> {
    stream.set_nodelay(true).map_err(message)?;
    let mut out = stream.try_clone().map_err(message)?;
    let mut input = BufReader::new(stream);
    loop {
        let (mut length, mut is_json, mut line) = (0, false, String::new());
        loop {
            line.clear();
            if input.read_line(&mut line).map_err(message)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(message)?,
                "content-type" => is_json = value.contains("json"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).map_err(message)?;
        let kind = if is_json { heard.take_json(&body)? } else { heard.take(body)? };
        if kind == call::Type::Subscribe {
            let (kind, first) = if is_json {
                ("json", subscribed_json().to_string().into_bytes())
            } else {
                ("x-protobuf", subscribed_event().encode_to_vec())
            };
            let begin = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/{kind}\r\nMesos-Stream-Id: stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            );
            out.write_all(begin.as_bytes()).map_err(message)?;
            chunk(&mut out, &record(&first)).map_err(message)?;
            tell.send(out.try_clone().map_err(message)?).map_err(message)?;
        } else {
            out.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").map_err(message)?;
        }
    }
}

impl CallCounts {
    fn take(&self, body: Vec<u8>) -> Result<call::Type, String> {
        let call = Call::decode(Bytes::from(body)).map_err(message)?;
        let kind = call.r#type();
        if let Some(decline) = call.decline {
            self.declined.fetch_add(decline.offer_ids.len(), Ordering::Relaxed);
        }
        self.acknowledged.fetch_add(usize::from(kind == call::Type::Acknowledge), Ordering::Relaxed);
        let operations = call.accept.into_iter().flat_map(|accept| accept.operations);
        let tasks = operations.filter_map(|operation| operation.launch).flat_map(|launch| launch.task_infos);
        self.launches.lock().map_err(message)?.extend(tasks.map(|task| task.task_id.value));
        Ok(kind)
    }

    fn take_json(&self, body: &[u8]) -> Result<call::Type, String> {
        let call: Value = serde_json::from_slice(body).map_err(message)?;
        let kind = call["type"].as_str().unwrap_or_default();
        let declined = call["decline"]["offer_ids"].as_array().map_or(0, Vec::len);
        self.declined.fetch_add(declined, Ordering::Relaxed);
        self.acknowledged.fetch_add(usize::from(kind == "ACKNOWLEDGE"), Ordering::Relaxed);
        Ok(call::Type::from_str_name(kind).unwrap_or(call::Type::Unknown))
    }
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut whole = format!("{:x}\r\n", bytes.len()).into_bytes();
    whole.extend_from_slice(bytes);
    whole.extend_from_slice(b"\r\n");
    stream.write_all(&whole)
}

fn record(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    recordio::encode(message, &mut out);
    out.freeze()
}

fn subscribed_event() -> Event {
    let subscribed = event::Subscribed {
        framework_id: FrameworkId { value: "talker-0000".to_owned() },
        heartbeat_interval_seconds: Some(3600.0),
        master_info: None,
    };
    Event { r#type: Some(event::Type::Subscribed as i32), subscribed: Some(subscribed), ..Event::default() }
}

fn subscribed_json() -> Value {
    let subscribed =
        json!({ "framework_id": { "value": "talker-0000" }, "heartbeat_interval_seconds": 3600.0 });
    json!({ "type": "SUBSCRIBED", "subscribed": subscribed })
}

fn offer(number: usize, free: &Quantities) -> Offer {
    Offer {
        id: OfferId { value: format!("o{number}") },
        framework_id: FrameworkId { value: "talker-0000".to_owned() },
        agent_id: AgentId { value: format!("a{}", number % OFFERS) },
        hostname: "h".to_owned(),
        resources: free.to_resources(Some("*")),
        ..Offer::default()
    }
}

fn offers_of(offers: Vec<Offer>) -> Event {
    Event {
        r#type: Some(event::Type::Offers as i32),
        offers: Some(event::Offers { offers }),
        ..Event::default()
    }
}

pub(crate) fn offers_event(batch: usize) -> Event {
    let free = Quantities { milli_cpus: 4000, mem_mib: 1024, disk_mib: 4000, ..Quantities::default() };
    offers_of((batch * OFFERS..(batch + 1) * OFFERS).map(|number| offer(number, &free)).collect())
}

fn offers_json(batch: usize) -> Value {
    let scalar = |name: &str, value: f64| json!({ "name": name, "type": "SCALAR", "scalar": { "value": value }, "role": "*" });
    let offers: Vec<Value> = (batch * OFFERS..(batch + 1) * OFFERS)
        .map(|number| {
            json!({
                "id": { "value": format!("o{number}") },
                "framework_id": { "value": "talker-0000" },
                "agent_id": { "value": format!("a{}", number % OFFERS) },
                "hostname": "h",
                "resources": [scalar("cpus", 4.0), scalar("mem", 1024.0), scalar("disk", 4000.0)],
            })
        })
        .collect();
    json!({ "type": "OFFERS", "offers": { "offers": offers } })
}

pub(crate) fn update(launch: &str, number: usize) -> Event {
    let status = TaskStatus {
        task_id: TaskId { value: launch.to_owned() },
        state: TaskState::TaskRunning as i32,
        agent_id: Some(AgentId { value: "a0".to_owned() }),
        uuid: Some(Bytes::copy_from_slice(&(number as u128).to_be_bytes())),
        ..TaskStatus::default()
    };
    Event {
        r#type: Some(event::Type::Update as i32),
        update: Some(event::Update { status }),
        ..Event::default()
    }
}

fn update_json(launch: &str, number: usize) -> Value {
    // Sixteen bytes in base64; which ones is nobody's concern.
    let uuid = format!("{number:022}==");
    let status = json!({
        "task_id": { "value": launch },
        "state": "TASK_RUNNING",
        "agent_id": { "value": "a0" },
        "uuid": uuid,
    });
    json!({ "type": "UPDATE", "update": { "status": status } })
}
