//! Free amounts in a fixed order, of which the first that are enough are found quickly.

use borges_task::Resources;

/// What each offer has left, in rows of which it is known what they may hold at best.
///
/// The most of each kind alone would promise much: where one place of a row has cpus left and another memory, it has
/// both. So the memory is known by how many cpus go with it. What a row promises is reckoned when it was found to have
/// promised too much: places only shrink, so it never promises too little.
#[derive(Debug, Clone)]
pub(super) struct FirstFitIndex {
    free: Vec<Resources>,
    /// The level of each place: the highest for which it has the cpus.
    level: Vec<usize>,
    /// Milli-cpus, in ascending order from 0.
    levels: [u64; LEVELS],
    /// By row: no place of it has more of any kind.
    most: Vec<Resources>,
    /// By level, then by row: no place of this level or a higher one has more memory.
    mem: Vec<Vec<u64>>,
}

/// Places in a row.
const ROW_LEN: usize = 64;
/// How finely cpus are told apart: a step for each thirty-second of the distinct wishes.
const LEVELS: usize = 32;

impl FirstFitIndex {
    /// `asked` are the milli-cpus that will be wanted.
    pub(super) fn new(free: Vec<Resources>, asked: impl Iterator<Item = u64>) -> Self {
        let mut asked: Vec<u64> = asked.collect();
        asked.sort_unstable();
        asked.dedup();
        let step = |level: usize| asked.get(level * asked.len() / LEVELS).copied().unwrap_or(0);
        let levels = std::array::from_fn(|level| if level == 0 { 0 } else { step(level) });
        let rows = free.len().div_ceil(ROW_LEN);
        let level = free.iter().map(|free| level_of(&levels, free.milli_cpus)).collect();
        let most = vec![Resources::default(); rows];
        let mut shelf = Self { free, level, levels, most, mem: vec![vec![0; rows]; LEVELS] };
        (0..rows).for_each(|row| shelf.recompute_row(row));
        shelf
    }

    /// The first place from `from` on that holds `wants`.
    pub(super) fn find_first(&mut self, from: usize, wants: &Resources) -> Option<usize> {
        let level = level_of(&self.levels, wants.milli_cpus);
        let mut at = from;
        while at < self.free.len() {
            let first = at / ROW_LEN;
            let skipped = self.mem[level][first..].iter().position(|mem| *mem >= wants.mem)?;
            let row = first + skipped;
            at = at.max(row * ROW_LEN);
            let end = self.end(row);
            if self.most[row].contains(wants) {
                if let Some(found) = self.free[at..end].iter().position(|free| free.contains(wants)) {
                    return Some(at + found);
                }
                self.recompute_row(row);
            }
            at = end;
        }
        None
    }

    /// Takes `wants` from a place; `false`, and nothing taken, when there is less.
    pub(super) fn allocate(&mut self, at: usize, wants: &Resources) -> bool {
        let Some(rest) = self.free.get(at).and_then(|free| free.checked_sub(wants)) else { return false };
        self.free[at] = rest;
        self.level[at] = level_of(&self.levels, rest.milli_cpus);
        true
    }

    /// What a row may hold at best.
    fn recompute_row(&mut self, row: usize) {
        let places = row * ROW_LEN..self.end(row);
        let mut most = Resources::default();
        let mut mem = [0; LEVELS];
        for (free, &level) in self.free[places.clone()].iter().zip(&self.level[places]) {
            most = most.elementwise_max(free);
            mem[level] = free.mem.max(mem[level]);
        }
        self.most[row] = most;
        let mut so_far = 0;
        for (rows, mem) in self.mem.iter_mut().zip(mem).rev() {
            so_far = mem.max(so_far);
            rows[row] = so_far;
        }
    }

    fn end(&self, row: usize) -> usize {
        self.free.len().min((row + 1) * ROW_LEN)
    }
}

/// The highest level for which there are the cpus.
fn level_of(levels: &[u64; LEVELS], milli_cpus: u64) -> usize {
    levels.partition_point(|level| *level <= milli_cpus).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn amounts(most: u64)(
            milli_cpus in 0..most, mem in 0..most, disk in 0..most, gpus in 0..2u64,
        ) -> Resources {
            Resources { milli_cpus, mem, disk, gpus }
        }
    }

    proptest! {
        /// The first place is that which one finds who looks at each, whatever was taken before.
        #[test]
        fn nothing_is_passed_over(
            mut free in prop::collection::vec(amounts(40), 0..300),
            wants in prop::collection::vec((amounts(12), 0..320usize), 0..120),
        ) {
            let mut shelf = FirstFitIndex::new(free.clone(), wants.iter().map(|(wants, _)| wants.milli_cpus));
            for (wants, from) in &wants {
                let held = |(at, free): (usize, &Resources)| at >= *from && free.contains(wants);
                let first = free.iter().enumerate().position(held);
                prop_assert_eq!(shelf.find_first(*from, wants), first);
                if let Some(at) = first {
                    prop_assert!(shelf.allocate(at, wants));
                    free[at] = free[at].checked_sub(wants).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let one = Resources { milli_cpus: 1000, mem: 64, ..Resources::default() };
        let mut shelf = FirstFitIndex::new(vec![one], [1000].into_iter());
        let two = Resources { milli_cpus: 2000, ..one };
        assert!(!shelf.allocate(0, &two) && !shelf.allocate(1, &one));
        assert_eq!((shelf.find_first(0, &two), shelf.find_first(0, &one)), (None, Some(0)));
        assert!(shelf.allocate(0, &one) && shelf.find_first(0, &one).is_none());
    }
}
