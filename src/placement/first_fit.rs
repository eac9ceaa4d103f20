//! An index over the free amounts of a fixed list of offers, which finds the first offer that fits a request.

use borges_task::Resources;

/// The remaining amounts of each offer, in rows with upper bounds.
///
/// A bound per kind is too loose, because one offer of a row may have CPUs and another memory. So memory is bounded per
/// CPU level. Bounds are recomputed only when a lookup in the row fails. Offers only shrink, so a stale bound is still
/// an upper bound.
#[derive(Debug, Clone)]
pub(super) struct FirstFitIndex {
    free: Vec<Resources>,
    /// The CPU level of each offer: the highest whose threshold it reaches.
    levels: Vec<usize>,
    /// The milli-CPUs at which each level begins, ascending from 0.
    thresholds: [u64; LEVELS],
    /// For each row: an upper bound, per kind, of what its offers have left.
    max: Vec<Resources>,
    /// By level, then by row: an upper bound of the memory of offers at this level or above.
    mem: Vec<Vec<u64>>,
}

/// Offers in a row.
const ROW_LEN: usize = 64;
/// Number of CPU levels: each level covers this fraction of the distinct CPU requests.
const LEVELS: usize = 32;

impl FirstFitIndex {
    /// `requested_cpus` are the milli-CPUs of the requests to come.
    pub(super) fn new(free: Vec<Resources>, requested_cpus: impl Iterator<Item = u64>) -> Self {
        let mut requested_cpus: Vec<u64> = requested_cpus.collect();
        requested_cpus.sort_unstable();
        requested_cpus.dedup();
        let step =
            |level: usize| requested_cpus.get(level * requested_cpus.len() / LEVELS).copied().unwrap_or(0);
        let thresholds = std::array::from_fn(|level| if level == 0 { 0 } else { step(level) });
        let rows = free.len().div_ceil(ROW_LEN);
        let levels = free.iter().map(|free| level_of(&thresholds, free.milli_cpus)).collect();
        let max = vec![Resources::default(); rows];
        let mut index = Self { free, levels, thresholds, max, mem: vec![vec![0; rows]; LEVELS] };
        (0..rows).for_each(|row| index.recompute_row(row));
        index
    }

    /// The first offer at `from` or behind it that fits `request`.
    pub(super) fn find_first(&mut self, from: usize, request: &Resources) -> Option<usize> {
        let level = level_of(&self.thresholds, request.milli_cpus);
        let mut at = from;
        while at < self.free.len() {
            let first = at / ROW_LEN;
            let skipped = self.mem[level][first..].iter().position(|mem| *mem >= request.mem)?;
            let row = first + skipped;
            at = at.max(row * ROW_LEN);
            let end = self.end(row);
            if self.max[row].contains(request) {
                if let Some(found) = self.free[at..end].iter().position(|free| free.contains(request)) {
                    return Some(at + found);
                }
                self.recompute_row(row);
            }
            at = end;
        }
        None
    }

    /// Takes `request` from an offer. `false`, and nothing taken, if the offer has less.
    pub(super) fn allocate(&mut self, at: usize, request: &Resources) -> bool {
        let Some(remaining) = self.free.get(at).and_then(|free| free.checked_sub(request)) else {
            return false;
        };
        self.free[at] = remaining;
        self.levels[at] = level_of(&self.thresholds, remaining.milli_cpus);
        true
    }

    /// Recomputes the upper bounds of a row.
    fn recompute_row(&mut self, row: usize) {
        let range = row * ROW_LEN..self.end(row);
        let mut max = Resources::default();
        let mut mem = [0; LEVELS];
        for (free, &level) in self.free[range.clone()].iter().zip(&self.levels[range]) {
            max = max.elementwise_max(free);
            mem[level] = free.mem.max(mem[level]);
        }
        self.max[row] = max;
        let mut running_max = 0;
        for (rows, mem) in self.mem.iter_mut().zip(mem).rev() {
            running_max = mem.max(running_max);
            rows[row] = running_max;
        }
    }

    fn end(&self, row: usize) -> usize {
        self.free.len().min((row + 1) * ROW_LEN)
    }
}

/// The highest level that these milli-CPUs reach.
fn level_of(thresholds: &[u64; LEVELS], milli_cpus: u64) -> usize {
    thresholds.partition_point(|threshold| *threshold <= milli_cpus).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn amounts(max: u64)(
            milli_cpus in 0..max, mem in 0..max, disk in 0..max, gpus in 0..2u64,
        ) -> Resources {
            Resources { milli_cpus, mem, disk, gpus }
        }
    }

    proptest! {
        /// `find_first` returns the same offer as a linear scan, after any allocations.
        #[test]
        fn find_first_agrees_with_a_linear_scan(
            mut free in prop::collection::vec(amounts(40), 0..300),
            requests in prop::collection::vec((amounts(12), 0..320usize), 0..120),
        ) {
            let mut index = FirstFitIndex::new(free.clone(), requests.iter().map(|(request, _)| request.milli_cpus));
            for (request, from) in &requests {
                let is_match = |(at, free): (usize, &Resources)| at >= *from && free.contains(request);
                let first = free.iter().enumerate().position(is_match);
                prop_assert_eq!(index.find_first(*from, request), first);
                if let Some(at) = first {
                    prop_assert!(index.allocate(at, request));
                    free[at] = free[at].checked_sub(request).unwrap();
                }
            }
        }
    }

    #[test]
    fn allocate_fails_beyond_the_free_amounts() {
        let small = Resources { milli_cpus: 1000, mem: 64, ..Resources::default() };
        let mut index = FirstFitIndex::new(vec![small], [1000].into_iter());
        let large = Resources { milli_cpus: 2000, ..small };
        assert!(!index.allocate(0, &large) && !index.allocate(1, &small));
        assert_eq!((index.find_first(0, &large), index.find_first(0, &small)), (None, Some(0)));
        assert!(index.allocate(0, &small) && index.find_first(0, &small).is_none());
    }
}
