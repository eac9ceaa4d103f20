//! Allocates ports from the ranges of an offer.

use borges_task::Port;

/// Free ports: sorted ranges, both ends included.
pub(super) type Ranges = Vec<(u64, u64)>;

/// Preferred for arbitrary ports: no system assigns these by default, neither to servers (below) nor to clients (above).
const PREFERRED: (u64, u64) = (10_000, 32_767);
/// The first port that a process may listen on without root.
const FIRST_UNPRIVILEGED: u64 = 1024;
/// The highest port number.
const MAX_PORT: u64 = 65_535;

/// Takes a port of `free` for each of `requested`, in their order; `None`, and nothing taken, when they are not all
/// there.
///
/// `seed` decides where among them the search for any port begins, so that strangers on one machine, who do not
/// know of each other, seldom choose the same.
pub(super) fn allocate(free: &mut Ranges, requested: &[Port], seed: u64) -> Option<Vec<u16>> {
    let mut remaining = free.clone();
    let mut taken = vec![0; requested.len()];
    // What is named first: it must not go to who takes any.
    for (slot, port) in taken.iter_mut().zip(requested).filter(|(_, port)| port.host != 0) {
        *slot = port.host;
        remove(&mut remaining, u64::from(port.host)).then_some(())?;
    }
    for slot in taken.iter_mut().filter(|slot| **slot == 0) {
        let port = find_any(&remaining, seed)?;
        remove(&mut remaining, port);
        *slot = u16::try_from(port).ok()?;
    }
    *free = remaining;
    Some(taken)
}

/// Whether a port is free.
pub(super) fn contains(free: &Ranges, port: u16) -> bool {
    free.iter().any(|&(begin, end)| (begin..=end).contains(&u64::from(port)))
}

/// How many are free.
pub(super) fn count(free: &Ranges) -> u64 {
    free.iter().map(|&(begin, end)| end.saturating_sub(begin).saturating_add(1)).sum()
}

fn find_any(free: &Ranges, seed: u64) -> Option<u64> {
    let (first, last) = PREFERRED;
    let start = first + seed % (last - first + 1);
    [(start, last), (first, start), (FIRST_UNPRIVILEGED, MAX_PORT), (1, MAX_PORT)].into_iter().find_map(
        |(from, to)| {
            let port = |&(begin, end): &(u64, u64)| {
                let port = from.max(begin);
                (port <= end && port <= to).then_some(port)
            };
            free.iter().find_map(port)
        },
    )
}

fn remove(free: &mut Ranges, port: u64) -> bool {
    let Some(at) = free.iter().position(|&(begin, end)| (begin..=end).contains(&port)) else { return false };
    let (begin, end) = free[at];
    let parts = [(begin, port.wrapping_sub(1)), (port + 1, end)];
    free.splice(at..=at, parts.into_iter().filter(|&(from, to)| from <= to && to < u64::MAX));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(free: &[(u64, u64)], requested: &[u16], seed: u64) -> (Option<Vec<u16>>, Ranges) {
        let mut free = free.to_vec();
        let requested: Vec<Port> = requested.iter().map(|&host| Port { host, container: 0 }).collect();
        (allocate(&mut free, &requested, seed), free)
    }

    #[test]
    fn named_ports_are_allocated_before_arbitrary_ones() {
        assert_eq!(allocated(&[(80, 82)], &[81], 0), (Some(vec![81]), vec![(80, 80), (82, 82)]));
        assert_eq!(allocated(&[(5000, 5001)], &[0, 5000], 7), (Some(vec![5001, 5000]), vec![]));
        assert_eq!(allocated(&[(80, 82)], &[79], 0), (None, vec![(80, 82)]));
        assert_eq!(allocated(&[(80, 81)], &[0, 0, 0], 0), (None, vec![(80, 81)]), "none is taken by halves");
    }

    #[test]
    fn arbitrary_ports_prefer_the_registered_range() {
        let all = [(1, 65_535)];
        assert_eq!(allocated(&all, &[0, 0], 5).0, Some(vec![10_005, 10_006]));
        assert_eq!(allocated(&all, &[0, 0], 22_767).0, Some(vec![32_767, 10_000]), "it goes round");
        assert_eq!(allocated(&[(1, 9), (40_000, 40_001)], &[0, 0, 0], 3).0, Some(vec![40_000, 40_001, 1]));
        assert_eq!(allocated(&[(31_000, 31_000)], &[0], 3).0, Some(vec![31_000]));
        assert_eq!(allocated(&[], &[0], 0).0, None);
    }

    #[test]
    fn free_ports_are_counted() {
        assert_eq!((count(&vec![(1, 3), (9, 9)]), count(&vec![])), (4, 0));
        assert!(contains(&vec![(1, 3)], 3) && !contains(&vec![(1, 3)], 4));
    }
}
