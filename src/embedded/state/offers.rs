//! [`Offers`], the agent's free and offered resources, and [`ActiveFilters`], the resources that a framework has
//! declined for a time (pure).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use borges_mesos::messages::Filters;
use borges_mesos::resources::Quantities;

/// The smallest offer. Source: Mesos, `MIN_CPUS`; a block needs both CPUs and memory.
const MIN_OFFER: Quantities =
    Quantities { milli_cpus: 10, mem_mib: 1, disk_mib: 0, gpus: 0, ports: Vec::new() };

/// The default of `refuse_seconds`. Source: Mesos, `Filters`.
const DEFAULT_REFUSE: Duration = Duration::from_secs(5);

/// The maximum of `refuse_seconds`: a year. Source: Mesos, `MAX_REFUSE`.
const MAX_REFUSE: Duration = Duration::from_hours(365 * 24);

/// The most filters of a framework. The oldest one is dropped for a new one, at the cost of a superfluous offer.
const MAX_FILTERS: usize = 64;

/// The resources of the agent that no task uses: free ones and offered ones.
#[derive(Debug)]
pub(crate) struct Offers {
    free: Quantities,
    /// The framework and the resources of each outstanding offer, by its id.
    outstanding: HashMap<String, (Rc<str>, Quantities)>,
}

impl Offers {
    pub(crate) fn new(total: Quantities) -> Self {
        Self { free: total, outstanding: HashMap::new() }
    }

    /// The resources that are neither offered nor used.
    pub(crate) fn free(&self) -> &Quantities {
        &self.free
    }

    /// Whether the free resources suffice for an offer.
    pub(crate) fn is_offerable(&self) -> bool {
        self.free.contains(&MIN_OFFER)
    }

    /// Offers all free resources to a framework.
    pub(crate) fn offer(&mut self, id: String, framework: Rc<str>) -> Quantities {
        let all = std::mem::take(&mut self.free);
        self.outstanding.insert(id, (framework, all.clone()));
        all
    }

    /// Removes an outstanding offer; its resources are now the caller's. `None` if there is no such offer to this
    /// framework.
    pub(crate) fn take_offer(&mut self, id: &str, framework: &str) -> Option<Quantities> {
        if self.outstanding.get(id)?.0.as_ref() != framework {
            return None;
        }
        self.outstanding.remove(id).map(|(_, amounts)| amounts)
    }

    /// Frees the resources that are offered to a disconnected framework.
    pub(crate) fn drop_offers_of(&mut self, framework: &str) {
        let free = &mut self.free;
        self.outstanding.retain(|_, (owner, amounts)| {
            let is_owner = owner.as_ref() == framework;
            if is_owner {
                free.add(amounts);
            }
            !is_owner
        });
    }

    /// Frees resources of a task or of an answered offer.
    pub(crate) fn release(&mut self, amounts: &Quantities) {
        self.free.add(amounts);
    }

    /// Uses free resources for a task that runs already.
    pub(crate) fn hold(&mut self, amounts: &Quantities) {
        self.free.subtract(amounts);
    }
}

/// The resources that a framework has declined, and until when each is not offered to it again.
#[derive(Debug, Default)]
pub(crate) struct ActiveFilters(Vec<(Quantities, Duration)>);

impl ActiveFilters {
    /// Adds a filter, in place of those that it covers. `false` if it filters nothing that is not filtered already,
    /// or that would not be offered anyway.
    pub(crate) fn add(&mut self, amounts: Quantities, until: Duration) -> bool {
        let covers_it = |(other, end): &(Quantities, Duration)| *end >= until && other.contains(&amounts);
        if !amounts.contains(&MIN_OFFER) || self.0.iter().any(covers_it) {
            return false;
        }
        self.0.retain(|(other, end)| *end > until || !amounts.contains(other));
        if self.0.len() == MAX_FILTERS {
            self.0.remove(0);
        }
        self.0.push((amounts, until));
        true
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether one filter that has not expired covers all of `free`.
    pub(crate) fn covers(&mut self, free: &Quantities, now: Duration) -> bool {
        self.0.retain(|(_, until)| *until > now);
        self.0.iter().any(|(amounts, _)| amounts.contains(free))
    }
}

/// How long the filters of a DECLINE or ACCEPT last; `None` if they filter nothing.
pub(crate) fn refuse_duration(filters: Option<&Filters>) -> Option<Duration> {
    let refuse = match filters.and_then(|filters| filters.refuse_seconds) {
        None => DEFAULT_REFUSE,
        Some(seconds) if seconds < 0.0 || seconds.is_nan() => DEFAULT_REFUSE,
        Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(MAX_REFUSE),
    };
    Some(refuse.min(MAX_REFUSE)).filter(|refuse| !refuse.is_zero())
}

/// A message that lists the resources of `requested` that `offered` lacks; empty if it lacks none.
pub(crate) fn shortage(requested: &Quantities, offered: &Quantities) -> String {
    let mut missing = Vec::new();
    if requested.milli_cpus > offered.milli_cpus {
        missing.push(format!("cpus: wants {}, offered {}", cpus(requested), cpus(offered)));
    }
    for (name, requested, offered) in [
        ("mem", requested.mem_mib, offered.mem_mib),
        ("disk", requested.disk_mib, offered.disk_mib),
        ("gpus", requested.gpus, offered.gpus),
    ] {
        if requested > offered {
            missing.push(format!("{name}: wants {requested}, offered {offered}"));
        }
    }
    let ports = Quantities { ports: requested.ports.clone(), ..Quantities::default() };
    if !offered.contains(&ports) {
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
    fn offers_are_taken_once_and_only_by_their_framework() {
        let mut offers = Offers::new(amounts(1000, 100));
        assert_eq!(offers.offer("o1".into(), "f".into()), amounts(1000, 100));
        assert!(!offers.is_offerable());
        assert_eq!(offers.take_offer("o1", "g"), None);
        assert_eq!(offers.take_offer("o2", "f"), None);
        assert_eq!(offers.take_offer("o1", "f"), Some(amounts(1000, 100)));
        assert_eq!(offers.take_offer("o1", "f"), None);
        offers.release(&amounts(1000, 100));
        offers.offer("o2".into(), "f".into());
        offers.drop_offers_of("g");
        assert!(!offers.is_offerable());
        offers.drop_offers_of("f");
        assert_eq!(offers.free(), &amounts(1000, 100));
    }

    #[test]
    fn offers_need_both_cpus_and_memory() {
        for (free, is_offerable) in [((9, 100), false), ((10, 1), true), ((1000, 0), false), ((0, 0), false)]
        {
            assert_eq!(Offers::new(amounts(free.0, free.1)).is_offerable(), is_offerable, "{free:?}");
        }
    }

    #[test]
    fn filters_cover_no_more_than_was_declined() {
        let at = Duration::from_secs;
        let mut filters = ActiveFilters::default();
        assert!(filters.add(amounts(1000, 100), at(5)));
        assert!(filters.add(amounts(500, 200), at(9)));
        assert!(!filters.add(amounts(500, 200), at(8)), "refused for longer already");
        assert!(!filters.add(amounts(0, 200), at(20)), "never offered");
        assert!(filters.covers(&amounts(1000, 100), at(4)));
        assert!(filters.covers(&amounts(400, 200), at(4)));
        assert!(!filters.covers(&amounts(1000, 101), at(4)), "more has become free");
        assert!(!filters.covers(&amounts(1000, 100), at(5)), "over");
        assert!(filters.covers(&amounts(500, 100), at(5)));
        filters.clear();
        assert!(!filters.covers(&amounts(1, 1), at(5)));
        for more in 0..1000 {
            filters.add(amounts(500, 1000 - more), at(5 + more));
            filters.add(amounts(500, 100), at(2000 + more));
        }
        assert_eq!(filters.0.len(), MAX_FILTERS);
    }

    #[test]
    fn refuse_seconds_are_read_as_in_mesos() {
        let read = |seconds| refuse_duration(Some(&Filters { refuse_seconds: Some(seconds) }));
        assert_eq!(refuse_duration(None), Some(DEFAULT_REFUSE));
        assert_eq!(refuse_duration(Some(&Filters { refuse_seconds: None })), Some(DEFAULT_REFUSE));
        assert_eq!([read(-1.0), read(f64::NAN)], [Some(DEFAULT_REFUSE); 2]);
        assert_eq!(read(0.0), None);
        assert_eq!(read(0.5), Some(Duration::from_millis(500)));
        assert_eq!([read(1e12), read(f64::INFINITY)], [Some(MAX_REFUSE); 2]);
    }

    #[test]
    fn shortages_name_requested_and_offered_amounts() {
        let requested = Quantities { ports: vec![(80, 80)], ..amounts(3000, 64) };
        insta::assert_snapshot!(shortage(&requested, &amounts(1500, 32)), @"cpus: wants 3, offered 1.5; mem: wants 64, offered 32; ports: wants some that are not offered");
        assert_eq!(shortage(&amounts(1, 1), &amounts(1, 1)), "");
    }
}
