//! Benchmark 11: 100,000 UPDATE events and 1,000 OFFERS of a hundred, from a master that only talks and counts, to
//! Borges and to pymesos, beside prost alone: what taking them in and answering them costs.
//!
//! The updates tell of tasks that run that they run: news that must be acknowledged, and changes nothing. Nothing
//! waits, so all offers are declined. pymesos is sent the same as JSON, for it reads nothing else.

use std::process::{Child, Command, Stdio};

use borges_mesos::messages::scheduler::Event;
use bytes::Bytes;
use prost::Message;

use crate::client::Client;
use crate::fake_master::{BATCHES, FakeMaster, OFFERS, TASKS, UPDATES, WireFormat, offers_event, update};
use crate::measure::{Spread, cpu_of, cpu_of_this};
use crate::{Row, message};
use support::server::TestServer;

/// Microseconds of CPU an event.
struct Cost {
    update: f64,
    offers: f64,
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let (mut borges, mut decoded, mut python) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=rounds.max(1) {
        eprintln!("benchmark 11, round {number} of {}", rounds.max(1));
        borges.push(by_borges()?);
        decoded.push(by_prost()?);
        python.push(by_pymesos()?);
    }
    let rows = |work: &str, of: fn(&Cost) -> f64| {
        let spread = |costs: &[Cost]| Spread::of(costs.iter().map(of));
        let alone = spread(&decoded).median;
        [("Borges", &borges), ("prost, decoding alone", &decoded), ("pymesos", &python)].map(
            |(contender, costs)| {
                let cost = spread(costs);
                let ratio = format!("{:.1} × decoding alone", cost.median / alone);
                Row {
                    benchmark: 11,
                    work: format!("{work}, {} rounds", costs.len()),
                    contender: contender.to_owned(),
                    figures: vec![cost.text(1, "µs CPU an event"), ratio],
                }
            },
        )
    };
    let updates = format!("{UPDATES} UPDATE events, acknowledged");
    let offers = format!("{BATCHES} OFFERS events of {OFFERS}, declined");
    Ok(rows(&updates, |cost| cost.update).into_iter().chain(rows(&offers, |cost| cost.offers)).collect())
}

fn by_borges() -> Result<Cost, String> {
    let mut master = FakeMaster::start()?;
    let server = TestServer::with_setupfile(&format!("#+mesos_master: {}\n", master.address));
    master.subscribed()?;
    let offers = spent(server.pid(), BATCHES, || master.offer_all(WireFormat::Protobuf))?;
    let document = "#+begin_src sh :cpu 0.01 :mem 16\ntrue\n#+end_src\n".repeat(TASKS);
    let _run = Client::connect(&server.address)?.submit(&document)?;
    let launches = master.launches()?;
    let update = spent(server.pid(), UPDATES, || master.tell_all(&launches, WireFormat::Protobuf))?;
    Ok(Cost { update, offers })
}

fn by_pymesos() -> Result<Cost, String> {
    let mut master = FakeMaster::start()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pymesos");
    let mut command = Command::new(script);
    command.arg(&master.address).stdin(Stdio::null()).stderr(Stdio::null());
    let driver = Driver(command.spawn().map_err(|error| format!("`{script}` does not start: {error}"))?);
    master.subscribed()?;
    let offers = spent(driver.0.id(), BATCHES, || master.offer_all(WireFormat::Json))?;
    let launches: Vec<String> = (0..TASKS).map(|task| format!("task-{task}")).collect();
    let update = spent(driver.0.id(), UPDATES, || master.tell_all(&launches, WireFormat::Json))?;
    Ok(Cost { update, offers })
}

/// Decodes the same bytes, and drops the messages.
fn by_prost() -> Result<Cost, String> {
    let each = |events: Vec<Event>| {
        let records: Vec<Bytes> = events.iter().map(|event| Bytes::from(event.encode_to_vec())).collect();
        let before = cpu_of_this()?;
        for record in &records {
            std::hint::black_box(Event::decode(record.clone()).map_err(message)?);
        }
        let spent = cpu_of_this()?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok::<f64, String>(spent.as_secs_f64() * 1e6 / records.len() as f64)
    };
    let launch = "00000000-0000-0000-0000-000000000000.1.1";
    let update = each((0..UPDATES).map(|number| update(launch, number)).collect())?;
    // Some at a time: all of them would be much memory.
    let mut offers = Vec::new();
    for batch in 0..BATCHES / 10 {
        offers.push(each((0..10).map(|number| offers_event(batch * 10 + number)).collect())?);
    }
    Ok(Cost { update, offers: Spread::of(offers).median })
}

/// Microseconds of CPU that a process has an event for what is said to it, up to its last answer.
fn spent(process: u32, events: usize, say: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let before = cpu_of(process)?;
    say()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(cpu_of(process)?.saturating_sub(before).as_secs_f64() * 1e6 / events as f64)
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
