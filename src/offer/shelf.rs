//! Free amounts in a fixed order, of which the first that are enough are found quickly.

use crate::task::Resources;

/// What each offer has left, in rows of which the most of each kind is known.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    free: Vec<Resources>,
    /// By row: no place of it has more of any kind.
    most: Vec<Resources>,
}

/// Places in a row: about the root of the ten thousand offers that a large cluster makes at once.
const ROW: usize = 64;

impl Shelf {
    pub(super) fn new(free: Vec<Resources>) -> Self {
        let most = free.chunks(ROW).map(most).collect();
        Self { free, most }
    }

    /// The first place from `from` on that holds `wants`.
    pub(super) fn first(&mut self, from: usize, wants: &Resources) -> Option<usize> {
        let mut at = from;
        while at < self.free.len() {
            let row = at / ROW;
            let next = (row + 1) * ROW;
            if self.most[row].hold(wants) {
                let end = next.min(self.free.len());
                if let Some(found) = self.free[at..end].iter().position(|free| free.hold(wants)) {
                    return Some(at + found);
                }
                // It promised more than it has.
                self.most[row] = most(&self.free[row * ROW..end]);
            }
            at = next;
        }
        None
    }

    /// Takes `wants` from a place; `false`, and nothing taken, when there is less.
    pub(super) fn take(&mut self, at: usize, wants: &Resources) -> bool {
        let rest = self.free.get(at).and_then(|free| free.checked_sub(wants));
        if let Some(rest) = rest {
            self.free[at] = rest;
        }
        rest.is_some()
    }
}

fn most(free: &[Resources]) -> Resources {
    free.iter().fold(Resources::default(), |most, free| most.larger(free))
}
