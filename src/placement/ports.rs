//! Ports out of what an offer has.

use borges_task::Port;

/// Free ports: sorted ranges, both ends included.
pub(super) type Ranges = Vec<(u64, u64)>;

/// Where any port will do: what no system hands out by itself, neither to servers (below) nor to clients (above).
const QUIET: (u64, u64) = (10_000, 32_767);
/// What only root may listen on ends below this.
const OPEN: u64 = 1024;
/// The last port there is.
const LAST: u64 = 65_535;

/// Takes a port of `free` for each of `wanted`, in their order; `None`, and nothing taken, when they are not all
/// there.
///
/// `seed` decides where among them the search for any port begins, so that strangers on one machine, who do not
/// know of each other, seldom choose the same.
pub(super) fn allocate(free: &mut Ranges, wanted: &[Port], seed: u64) -> Option<Vec<u16>> {
    let mut left = free.clone();
    let mut taken = vec![0; wanted.len()];
    // What is named first: it must not go to who takes any.
    for (place, port) in taken.iter_mut().zip(wanted).filter(|(_, port)| port.host != 0) {
        *place = port.host;
        remove(&mut left, u64::from(port.host)).then_some(())?;
    }
    for place in taken.iter_mut().filter(|place| **place == 0) {
        let any = any(&left, seed)?;
        remove(&mut left, any);
        *place = u16::try_from(any).ok()?;
    }
    *free = left;
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

fn any(free: &Ranges, seed: u64) -> Option<u64> {
    let (first, last) = QUIET;
    let start = first + seed % (last - first + 1);
    [(start, last), (first, start), (OPEN, LAST), (1, LAST)].into_iter().find_map(|(from, to)| {
        let port = |&(begin, end): &(u64, u64)| {
            let port = from.max(begin);
            (port <= end && port <= to).then_some(port)
        };
        free.iter().find_map(port)
    })
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

    fn taken(free: &[(u64, u64)], wanted: &[u16], seed: u64) -> (Option<Vec<u16>>, Ranges) {
        let mut free = free.to_vec();
        let wanted: Vec<Port> = wanted.iter().map(|&host| Port { host, container: 0 }).collect();
        (allocate(&mut free, &wanted, seed), free)
    }

    #[test]
    fn what_is_named_is_taken_and_any_is_one_of_the_rest() {
        assert_eq!(taken(&[(80, 82)], &[81], 0), (Some(vec![81]), vec![(80, 80), (82, 82)]));
        assert_eq!(taken(&[(5000, 5001)], &[0, 5000], 7), (Some(vec![5001, 5000]), vec![]));
        assert_eq!(taken(&[(80, 82)], &[79], 0), (None, vec![(80, 82)]));
        assert_eq!(taken(&[(80, 81)], &[0, 0, 0], 0), (None, vec![(80, 81)]), "none is taken by halves");
    }

    #[test]
    fn any_port_is_a_quiet_one_where_there_are_such() {
        let all = [(1, 65_535)];
        assert_eq!(taken(&all, &[0, 0], 5).0, Some(vec![10_005, 10_006]));
        assert_eq!(taken(&all, &[0, 0], 22_767).0, Some(vec![32_767, 10_000]), "it goes round");
        assert_eq!(taken(&[(1, 9), (40_000, 40_001)], &[0, 0, 0], 3).0, Some(vec![40_000, 40_001, 1]));
        assert_eq!(taken(&[(31_000, 31_000)], &[0], 3).0, Some(vec![31_000]));
        assert_eq!(taken(&[], &[0], 0).0, None);
    }

    #[test]
    fn free_ports_are_counted() {
        assert_eq!((count(&vec![(1, 3), (9, 9)]), count(&vec![])), (4, 0));
        assert!(contains(&vec![(1, 3)], 3) && !contains(&vec![(1, 3)], 4));
    }
}
