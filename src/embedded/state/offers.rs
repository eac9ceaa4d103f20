//! What is free, what is offered, and what nobody wants just now.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use borges_mesos::messages::Filters;
use borges_mesos::resources::Quantities;

/// The least that is worth an offer. Source: Mesos, `MIN_CPUS`; a block needs both cpus and memory.
const LEAST: Quantities = Quantities { milli_cpus: 10, mem_mib: 1, disk_mib: 0, gpus: 0, ports: Vec::new() };

/// How long what was declined stays unoffered when nobody says. Source: Mesos, `Filters`.
const REFUSE: Duration = Duration::from_secs(5);

/// The longest that anything stays unoffered: a year. Source: Mesos, `MAX_REFUSE`.
const MOST_REFUSE: Duration = Duration::from_hours(365 * 24);

/// More refusals are not kept: the first ones are then forgotten, which costs an offer too many.
const MOST_REFUSALS: usize = 64;

/// The agent's resources: all of them are here, under way as offers, or held by tasks.
#[derive(Debug)]
pub(crate) struct Offers {
    free: Quantities,
    /// By offer id: to whom, and what.
    out: HashMap<String, (Rc<str>, Quantities)>,
}

impl Offers {
    pub(crate) fn new(all: Quantities) -> Self {
        Self { free: all, out: HashMap::new() }
    }

    /// What nobody holds.
    pub(crate) fn free(&self) -> &Quantities {
        &self.free
    }

    /// Whether there is enough to be offered.
    pub(crate) fn is_offerable(&self) -> bool {
        self.free.contains(&LEAST)
    }

    /// Offers all that is free.
    pub(crate) fn offer(&mut self, id: String, framework: Rc<str>) -> Quantities {
        let all = std::mem::take(&mut self.free);
        self.out.insert(id, (framework, all.clone()));
        all
    }

    /// Takes an offer back in, if it is out and the framework's: an id is good once.
    pub(crate) fn answered(&mut self, id: &str, framework: &str) -> Option<Quantities> {
        if self.out.get(id)?.0.as_ref() != framework {
            return None;
        }
        self.out.remove(id).map(|(_, amounts)| amounts)
    }

    /// Drops what is offered to a framework that is gone.
    pub(crate) fn drop_offers_of(&mut self, framework: &str) {
        let free = &mut self.free;
        self.out.retain(|_, (owner, amounts)| {
            let goes = owner.as_ref() == framework;
            if goes {
                free.add(amounts);
            }
            !goes
        });
    }

    /// Takes back what a task held, or what an answer left.
    pub(crate) fn release(&mut self, amounts: &Quantities) {
        self.free.add(amounts);
    }

    /// Takes for a task that runs already.
    pub(crate) fn hold(&mut self, amounts: &Quantities) {
        self.free.subtract(amounts);
    }
}

/// What a framework does not want to be offered again, and until when.
#[derive(Debug, Default)]
pub(crate) struct ActiveFilters(Vec<(Quantities, Duration)>);

impl ActiveFilters {
    /// Remembers a refusal, in place of those it makes void; true when it adds something.
    ///
    /// What would not be offered anyway need not be remembered.
    pub(crate) fn push(&mut self, amounts: Quantities, until: Duration) -> bool {
        let void = |(other, end): &(Quantities, Duration)| *end >= until && other.contains(&amounts);
        if !amounts.contains(&LEAST) || self.0.iter().any(void) {
            return false;
        }
        self.0.retain(|(other, end)| *end > until || !amounts.contains(other));
        if self.0.len() == MOST_REFUSALS {
            self.0.remove(0);
        }
        self.0.push((amounts, until));
        true
    }

    pub(crate) fn lift(&mut self) {
        self.0.clear();
    }

    /// Whether `free` has nothing beyond what was refused, at `now`.
    pub(crate) fn covers(&mut self, free: &Quantities, now: Duration) -> bool {
        self.0.retain(|(_, until)| *until > now);
        self.0.iter().any(|(amounts, _)| amounts.contains(free))
    }
}

/// How long a DECLINE or ACCEPT refuses; `None` for not at all.
pub(crate) fn refused_for(filters: Option<&Filters>) -> Option<Duration> {
    let refuse = match filters.and_then(|filters| filters.refuse_seconds) {
        None => REFUSE,
        Some(seconds) if seconds < 0.0 || seconds.is_nan() => REFUSE,
        Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(MOST_REFUSE),
    };
    Some(refuse.min(MOST_REFUSE)).filter(|refuse| !refuse.is_zero())
}

/// What is missing of `want` in `have`, in words; empty when nothing is.
pub(crate) fn shortage(want: &Quantities, have: &Quantities) -> String {
    let mut missing = Vec::new();
    if want.milli_cpus > have.milli_cpus {
        missing.push(format!("cpus: wants {}, offered {}", cpus(want), cpus(have)));
    }
    for (name, want, have) in [
        ("mem", want.mem_mib, have.mem_mib),
        ("disk", want.disk_mib, have.disk_mib),
        ("gpus", want.gpus, have.gpus),
    ] {
        if want > have {
            missing.push(format!("{name}: wants {want}, offered {have}"));
        }
    }
    let ports = Quantities { ports: want.ports.clone(), ..Quantities::default() };
    if !have.contains(&ports) {
        missing.push("ports: wants some that are not offered".to_owned());
    }
    missing.join("; ")
}

fn cpus(amounts: &Quantities) -> String {
    let (whole, rest) = (amounts.milli_cpus / 1000, amounts.milli_cpus % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(milli_cpus: u64, mem_mib: u64) -> Quantities {
        Quantities { milli_cpus, mem_mib, ..Quantities::default() }
    }

    #[test]
    fn an_offer_is_answered_once_by_whom_it_was_made_to() {
        let mut offers = Offers::new(amounts(1000, 100));
        assert_eq!(offers.offer("o1".into(), "f".into()), amounts(1000, 100));
        assert!(!offers.is_offerable());
        assert_eq!(offers.answered("o1", "g"), None);
        assert_eq!(offers.answered("o2", "f"), None);
        assert_eq!(offers.answered("o1", "f"), Some(amounts(1000, 100)));
        assert_eq!(offers.answered("o1", "f"), None);
        offers.release(&amounts(1000, 100));
        offers.offer("o2".into(), "f".into());
        offers.drop_offers_of("g");
        assert!(!offers.is_offerable());
        offers.drop_offers_of("f");
        assert_eq!(offers.free(), &amounts(1000, 100));
    }

    #[test]
    fn memory_without_a_cpu_is_not_worth_an_offer() {
        for (free, worth) in [((9, 100), false), ((10, 1), true), ((1000, 0), false), ((0, 0), false)] {
            assert_eq!(Offers::new(amounts(free.0, free.1)).is_offerable(), worth, "{free:?}");
        }
    }

    #[test]
    fn a_refusal_covers_no_more_than_was_refused() {
        let at = Duration::from_secs;
        let mut refusals = ActiveFilters::default();
        assert!(refusals.push(amounts(1000, 100), at(5)));
        assert!(refusals.push(amounts(500, 200), at(9)));
        assert!(!refusals.push(amounts(500, 200), at(8)), "refused for longer already");
        assert!(!refusals.push(amounts(0, 200), at(20)), "never offered");
        assert!(refusals.covers(&amounts(1000, 100), at(4)));
        assert!(refusals.covers(&amounts(400, 200), at(4)));
        assert!(!refusals.covers(&amounts(1000, 101), at(4)), "more has become free");
        assert!(!refusals.covers(&amounts(1000, 100), at(5)), "over");
        assert!(refusals.covers(&amounts(500, 100), at(5)));
        refusals.lift();
        assert!(!refusals.covers(&amounts(1, 1), at(5)));
        for more in 0..1000 {
            refusals.push(amounts(500, 1000 - more), at(5 + more));
            refusals.push(amounts(500, 100), at(2000 + more));
        }
        assert_eq!(refusals.0.len(), MOST_REFUSALS);
    }

    #[test]
    fn refuse_seconds_are_read_as_mesos_reads_them() {
        let read = |seconds| refused_for(Some(&Filters { refuse_seconds: Some(seconds) }));
        assert_eq!(refused_for(None), Some(REFUSE));
        assert_eq!(refused_for(Some(&Filters { refuse_seconds: None })), Some(REFUSE));
        assert_eq!([read(-1.0), read(f64::NAN)], [Some(REFUSE); 2]);
        assert_eq!(read(0.0), None);
        assert_eq!(read(0.5), Some(Duration::from_millis(500)));
        assert_eq!([read(1e12), read(f64::INFINITY)], [Some(MOST_REFUSE); 2]);
    }

    #[test]
    fn a_shortage_is_worded() {
        let want = Quantities { ports: vec![(80, 80)], ..amounts(3000, 64) };
        insta::assert_snapshot!(shortage(&want, &amounts(1500, 32)), @"cpus: wants 3, offered 1.5; mem: wants 64, offered 32; ports: wants some that are not offered");
        assert_eq!(shortage(&amounts(1, 1), &amounts(1, 1)), "");
    }
}
