//! The tasks that wait for an offer, by what they ask for, oldest first.

use std::collections::{BTreeMap, HashMap};

use crate::task::{Resources, TaskId};

/// Waiting tasks, grouped by demand: a hundred thousand tasks ask for a handful of distinct amounts, and
/// what holds for one of a group holds for all.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    by_demand: HashMap<Resources, BTreeMap<u64, TaskId>>,
    places: HashMap<TaskId, (Resources, u64)>,
    next: u64,
}

impl Queue {
    /// Puts a task at the end; one that waits already keeps its place.
    pub fn push(&mut self, task: TaskId, wants: Resources) {
        if self.places.contains_key(&task) {
            return;
        }
        let place = self.next;
        self.next += 1;
        self.places.insert(task, (wants, place));
        self.by_demand.entry(wants).or_default().insert(place, task);
    }

    /// Takes a task out; `false` when it does not wait.
    pub fn remove(&mut self, task: TaskId) -> bool {
        let Some((wants, place)) = self.places.remove(&task) else { return false };
        if let Some(group) = self.by_demand.get_mut(&wants) {
            group.remove(&place);
            if group.is_empty() {
                self.by_demand.remove(&wants);
            }
        }
        true
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The waiting tasks that ask for `wants`, oldest first, each with its place in the whole queue.
    pub fn asking_for(&self, wants: &Resources) -> impl Iterator<Item = (u64, TaskId)> + '_ {
        self.by_demand.get(wants).into_iter().flatten().map(|(&place, &task)| (place, task))
    }

    /// The distinct demands, in no order.
    pub fn demands(&self) -> impl Iterator<Item = &Resources> + '_ {
        self.by_demand.keys()
    }

    /// What a waiting task asks for.
    pub fn demand(&self, task: TaskId) -> Option<&Resources> {
        self.places.get(&task).map(|(wants, _)| wants)
    }
}
