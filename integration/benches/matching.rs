//! Benchmark 10: a round of matching, beside naive first fit.
//!
//! Agents and blocks are of many sizes, as drawn from a fixed seed, and there is room for about three quarters of the
//! blocks. The figures are CPU time, on one thread, of the round alone; what the queue takes to let go of who was
//! placed stands beside it.

use std::hint::black_box;
use std::sync::Arc;

use borges_placement::{Agent, Offer, PeerLocations as Peers, Queue, match_offers};
use borges_task::{Constraint, Field, Operator, Requirements, ResourceRequest, Resources, RunId, TaskId};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Row;
use crate::measure::{Spread, cpu_of_this};

/// What is matched.
struct Case {
    name: &'static str,
    /// How many times ten thousand offers and a hundred thousand blocks.
    times: usize,
    shapes: usize,
    /// The blocks are of so many documents.
    documents: usize,
    /// A block that fits nowhere comes first of all.
    in_front: bool,
    /// Every tenth shape has constraints.
    constraints: bool,
}

const CASES: [Case; 9] = [
    Case { name: "64 shapes", ..Case::PLAIN },
    Case { name: "64 shapes, ten times both", times: 10, ..Case::PLAIN },
    Case { name: "5,000 shapes", shapes: 5000, ..Case::PLAIN },
    Case { name: "5,000 shapes, ten times both", shapes: 5000, times: 10, ..Case::PLAIN },
    Case { name: "64 shapes, one in front that fits nowhere", in_front: true, ..Case::PLAIN },
    Case {
        name: "5,000 shapes, one in front that fits nowhere",
        shapes: 5000,
        in_front: true,
        ..Case::PLAIN
    },
    Case { name: "5,000 shapes of 1,000 documents", shapes: 5000, documents: 1000, ..Case::PLAIN },
    Case {
        name: "5,000 shapes of 1,000 documents, ten times both",
        shapes: 5000,
        documents: 1000,
        times: 10,
        ..Case::PLAIN
    },
    Case { name: "5,000 shapes, constraints on a tenth", shapes: 5000, constraints: true, ..Case::PLAIN },
];

impl Case {
    const PLAIN: Self =
        Self { name: "", times: 1, shapes: 64, documents: 1, in_front: false, constraints: false };
}

/// The same numbers each time. Source: Marsaglia, "Xorshift RNGs".
struct Numbers(u64);

impl Numbers {
    /// One from `from` to `to`, both included.
    fn from(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from + 1)
    }
}

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut before: Option<f64> = None;
    for case in &CASES {
        let (offers, tasks) = made(case);
        let mut queue = Queue::default();
        for (task, demand) in &tasks {
            queue.push(*task, demand.clone(), 0);
        }
        let (mut ours, mut letting_go, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut placed, mut placed_naively) = (0, 0);
        for round in 1..=rounds.max(1) {
            eprintln!("benchmark 10, {}, round {round} of {}", case.name, rounds.max(1));
            let (taken, matching) =
                timed(|| match_offers(&offers, &queue, &Peers::default(), Timestamp::UNIX_EPOCH))?;
            ours.push(taken);
            let seats = || matching.placements.iter().flat_map(|placement| &placement.assignments);
            placed = seats().count();
            let mut rest = queue.clone();
            let (taken, ()) = timed(|| rest.mark_placed(seats().map(|seat| seat.task)))?;
            letting_go.push(taken);
            // With ten times both it is a hundred times as slow, and of constraints it knows nothing.
            if case.times == 1 && !case.constraints {
                let (taken, count) = timed(|| naive(&offers, &tasks))?;
                theirs.push(taken);
                placed_naively = count;
            }
        }
        let ours = Spread::of(ours);
        let mut figures = vec![
            ours.text(1, "ms"),
            format!("{placed} placed"),
            format!("queue {}", Spread::of(letting_go).text(1, "ms")),
        ];
        match before.take_if(|_| case.times > 1) {
            Some(once) => figures.push(format!("{:.1} × the cost of one time both", ours.median / once)),
            None => before = Some(ours.median),
        }
        let work = format!(
            "match {} offers with {} blocks: {}, {} rounds",
            offers.len(),
            tasks.len(),
            case.name,
            rounds.max(1)
        );
        rows.push(Row { benchmark: 10, work: work.clone(), contender: "borges".to_owned(), figures });
        if !theirs.is_empty() {
            let theirs = Spread::of(theirs);
            let figures = vec![
                theirs.text(1, "ms"),
                format!("{placed_naively} placed"),
                format!("{:.1} × borges' time", theirs.median / ours.median),
            ];
            rows.push(Row { benchmark: 10, work, contender: "naive first fit".to_owned(), figures });
        }
    }
    Ok(rows)
}

/// Milliseconds of CPU that something takes.
fn timed<T>(work: impl FnOnce() -> T) -> Result<(f64, T), String> {
    let before = cpu_of_this()?;
    let made = black_box(work());
    Ok((cpu_of_this()?.saturating_sub(before).as_secs_f64() * 1000.0, made))
}

fn made(case: &Case) -> (Vec<Offer>, Vec<(TaskId, ResourceRequest)>) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let offers: Vec<Offer> = (0..10_000 * case.times)
        .map(|number| {
            let attributes = [("rack".to_owned(), format!("r{}", number % 40))].into();
            let agent = Agent {
                id: format!("agent-{number:06}"),
                hostname: format!("host-{number:06}"),
                attributes,
                ..Agent::default()
            };
            let free = Resources {
                milli_cpus: 1000 * numbers.from(1, 24),
                mem: 512 * numbers.from(1, 192),
                ..Resources::default()
            };
            Offer {
                ids: vec![format!("offer-{number:06}")],
                agent: Arc::new(agent),
                free,
                ports: vec![(31_000, 32_000)],
                maintenance: None,
            }
        })
        .collect();
    let shapes: Vec<ResourceRequest> = (0..case.shapes)
        .map(|number| {
            let resources = Resources {
                milli_cpus: 10 * numbers.from(10, 300),
                mem: 16 * numbers.from(4, 512),
                ..Resources::default()
            };
            let rack = Field::Attribute("rack".to_owned());
            let constraints =
                vec![Constraint { field: rack, operator: Operator::Like(format!("r[{}-9]", number % 10)) }];
            let is_picky = case.constraints && number % 10 == 0;
            let requirements =
                is_picky.then(|| Arc::new(Requirements { constraints, ..Requirements::default() }));
            ResourceRequest { resources, requirements, ..ResourceRequest::default() }
        })
        .collect();
    let run = |number: usize| RunId(Uuid::from_u128(1 + number as u128));
    let mut tasks = Vec::new();
    if case.in_front {
        let amounts = Resources { mem: u64::MAX, ..Resources::default() };
        tasks.push((
            RunId(Uuid::nil()).task(1),
            ResourceRequest { resources: amounts, ..ResourceRequest::default() },
        ));
    }
    for number in 0..100_000 * case.times {
        let task = run(number % case.documents).task(u32::try_from(number / case.documents).unwrap_or(0) + 1);
        let last = shapes.len() as u64 - 1;
        let shape = usize::try_from(numbers.from(0, last)).unwrap_or(0);
        tasks.push((task, shapes[shape].clone()));
    }
    (offers, tasks)
}

/// Each task in its order onto the first offer that still holds it; how many were placed.
fn naive(offers: &[Offer], tasks: &[(TaskId, ResourceRequest)]) -> usize {
    let mut free: Vec<Resources> = offers.iter().map(|offer| offer.free).collect();
    let mut placed = 0;
    for (_, ResourceRequest { resources, .. }) in tasks {
        if let Some(free) = free.iter_mut().find(|free| free.contains(resources))
            && let Some(rest) = free.checked_sub(resources)
        {
            *free = rest;
            placed += 1;
        }
    }
    placed
}
