//! The tasks that wait for an offer, by what they ask for, oldest first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use crate::task::{Resources, TaskId};

/// Waiting tasks, grouped by demand: a hundred thousand tasks ask for a handful of distinct amounts, and
/// what holds for one of a group holds for all.
///
/// The order is that of the ids: runs by the time they were accepted, tasks as their document has them. So a
/// task that comes back for another launch has its old place.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    by_demand: HashMap<Resources, BTreeSet<TaskId>>,
    demands: HashMap<TaskId, Resources>,
}

impl Queue {
    /// Puts a task in; one that waits already is left as it is.
    pub fn push(&mut self, task: TaskId, wants: Resources) {
        if let Entry::Vacant(place) = self.demands.entry(task) {
            place.insert(wants);
            self.by_demand.entry(wants).or_default().insert(task);
        }
    }

    /// Takes a task out; `false` when it does not wait.
    pub fn remove(&mut self, task: TaskId) -> bool {
        let Some(wants) = self.demands.remove(&task) else { return false };
        if let Some(group) = self.by_demand.get_mut(&wants) {
            group.remove(&task);
            if group.is_empty() {
                self.by_demand.remove(&wants);
            }
        }
        true
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.demands.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.demands.is_empty()
    }

    /// The waiting tasks that ask for `wants`, oldest first.
    pub fn asking_for(&self, wants: &Resources) -> impl Iterator<Item = TaskId> + '_ {
        self.by_demand.get(wants).into_iter().flatten().copied()
    }

    /// The distinct demands, in no order.
    pub fn demands(&self) -> impl Iterator<Item = &Resources> + '_ {
        self.by_demand.keys()
    }

    /// What a waiting task asks for.
    pub fn demand(&self, task: TaskId) -> Option<&Resources> {
        self.demands.get(&task)
    }
}
