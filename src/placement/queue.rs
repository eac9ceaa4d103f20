//! The tasks that wait for an offer: whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use borges_task::{ResourceRequest, RunId, TaskId};

/// Waiting tasks, by whose turn it is.
///
/// Tasks of one run with one priority are a *flow*. A higher priority comes first; among equals the flows take
/// turns, a task each, so that a run with a hundred thousand tasks delays one with three by three. Within a flow the
/// oldest comes first, in the order of the document; a task that comes back for another launch has its old place.
///
/// Within a flow tasks are grouped by what they ask for: what holds for one of a group holds for all, and a hundred
/// thousand tasks ask for a handful of distinct things.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    flows: BTreeMap<ServiceOrder, TasksByRequest>,
    /// The turns that flows wait for, by run and priority.
    turns: HashMap<(RunId, i32), u64>,
    waiting: HashMap<TaskId, (Arc<ResourceRequest>, i32)>,
    /// How many tasks ask for the same.
    demands: HashMap<Arc<ResourceRequest>, usize>,
    /// The last turn that was taken with each priority: a flow that begins to wait is as if it had come then.
    taken: HashMap<i32, u64>,
}

/// When a flow is served: in the order of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceOrder {
    priority: Reverse<i32>,
    number: u64,
    run: RunId,
}

impl ServiceOrder {
    /// Whose it is.
    pub(super) fn run(self) -> RunId {
        self.run
    }

    /// The same flow's next turn.
    pub(super) fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }
}

/// The tasks of a flow by what they ask for: their numbers.
pub(super) type TasksByRequest = BTreeMap<Arc<ResourceRequest>, BTreeSet<u32>>;

impl Queue {
    /// Puts a task in; one that waits already is left as it is.
    pub fn push(&mut self, task: TaskId, wants: ResourceRequest, priority: i32) {
        if self.waiting.contains_key(&task) {
            return;
        }
        let known = self.demands.get_key_value(&wants).map(|(wants, _)| wants.clone());
        let wants = known.unwrap_or_else(|| Arc::new(wants));
        self.waiting.insert(task, (wants.clone(), priority));
        *self.demands.entry(wants.clone()).or_default() += 1;
        let number = *self
            .turns
            .entry((task.run, priority))
            .or_insert_with(|| self.taken.get(&priority).copied().unwrap_or_default());
        let turn = ServiceOrder { priority: Reverse(priority), number, run: task.run };
        self.flows.entry(turn).or_default().entry(wants).or_default().insert(task.number);
    }

    /// Takes a task out; `false` when it does not wait.
    pub fn remove(&mut self, task: TaskId) -> bool {
        let Some((wants, priority)) = self.waiting.remove(&task) else { return false };
        if let Some(count) = self.demands.get_mut(&wants) {
            *count -= 1;
            if *count == 0 {
                self.demands.remove(&wants);
            }
        }
        let flow = (task.run, priority);
        let Some(&number) = self.turns.get(&flow) else { return true };
        let turn = ServiceOrder { priority: Reverse(priority), number, run: task.run };
        let Some(groups) = self.flows.get_mut(&turn) else { return true };
        if let Some(group) = groups.get_mut(&wants) {
            group.remove(&task.number);
            if group.is_empty() {
                groups.remove(&wants);
            }
        }
        if groups.is_empty() {
            self.flows.remove(&turn);
            self.turns.remove(&flow);
        }
        true
    }

    /// These tasks were placed: they wait no longer, and their flows have had as many turns.
    pub fn mark_placed(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        let mut had: BTreeMap<(RunId, i32), (u64, u64)> = BTreeMap::new();
        for task in tasks {
            let Some(&(_, priority)) = self.waiting.get(&task) else { continue };
            let flow = (task.run, priority);
            let number = self.turns.get(&flow).copied().unwrap_or_default();
            had.entry(flow).or_insert((number, 0)).1 += 1;
            self.remove(task);
        }
        for ((run, priority), (number, turns)) in had {
            let taken = self.taken.entry(priority).or_default();
            *taken = (*taken).max(number + turns - 1);
            let Some(turn) = self.turns.get_mut(&(run, priority)) else { continue };
            // Nobody saves up turns: who could not use one for long does not have all that follow.
            *turn = (number + turns).max(*taken);
            let at = |number| ServiceOrder { priority: Reverse(priority), number, run };
            if let Some(groups) = self.flows.remove(&at(number)) {
                self.flows.insert(at(*turn), groups);
            }
        }
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The flows in the order of their turns.
    pub(super) fn flows(&self) -> impl Iterator<Item = (ServiceOrder, &TasksByRequest)> {
        self.flows.iter().map(|(&turn, groups)| (turn, groups))
    }

    /// Waiting tasks that ask for `wants`, those whose turn it is first, flow by flow.
    pub fn with_request<'a>(&'a self, wants: &'a ResourceRequest) -> impl Iterator<Item = TaskId> + 'a {
        let numbers =
            self.flows.iter().filter_map(move |(turn, groups)| Some((turn.run, groups.get(wants)?)));
        numbers.flat_map(|(run, numbers)| numbers.iter().map(move |&number| run.task(number)))
    }

    /// The distinct demands, and how many tasks have each; in no order.
    pub fn demands(&self) -> impl Iterator<Item = (&Arc<ResourceRequest>, usize)> + '_ {
        self.demands.iter().map(|(wants, &tasks)| (wants, tasks))
    }

    /// What a waiting task asks for.
    pub fn demand(&self, task: TaskId) -> Option<&Arc<ResourceRequest>> {
        self.waiting.get(&task).map(|(wants, _)| wants)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::{Offer, PeerLocations, match_offers};
    use super::*;
    use borges_task::Resources;

    const ONE: Resources = Resources { milli_cpus: 1000, mem: 32, disk: 0, gpus: 0 };

    fn demand(resources: Resources) -> ResourceRequest {
        ResourceRequest { resources, ..ResourceRequest::default() }
    }

    /// The tasks that are placed where so much is offered.
    fn placed(free: Resources, queue: &Queue) -> Vec<TaskId> {
        let offer =
            Offer { ids: Vec::new(), agent: Arc::default(), free, ports: Vec::new(), maintenance: None };
        let round = match_offers(&[offer], queue, &PeerLocations::default(), Timestamp::UNIX_EPOCH);
        round.placements.iter().flat_map(|placement| &placement.assignments).map(|seat| seat.task).collect()
    }

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    /// The next `count` tasks to be placed, one offer for one task at a time, as `RUN.N`.
    fn next(queue: &mut Queue, count: usize) -> String {
        let mut order = Vec::new();
        for _ in 0..count {
            let placed = placed(ONE, queue);
            order.extend(placed.iter().map(|t| format!("{}.{}", t.run.0.as_u128(), t.number)));
            queue.mark_placed(placed);
        }
        order.join(" ")
    }

    fn push(queue: &mut Queue, number: u128, tasks: std::ops::RangeInclusive<u32>, priority: i32) {
        for task in tasks {
            queue.push(run(number).task(task), demand(ONE), priority);
        }
    }

    #[test]
    fn a_large_run_does_not_starve_the_next() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=100_000, 0);
        assert_eq!(next(&mut queue, 4), "1.1 1.2 1.3 1.4");
        push(&mut queue, 2, 1..=3, 0);
        assert_eq!(next(&mut queue, 8), "2.1 1.5 2.2 1.6 2.3 1.7 1.8 1.9");
        // Who comes back has no turns saved up, and none to make good.
        push(&mut queue, 2, 4..=5, 0);
        push(&mut queue, 3, 1..=1, 0);
        assert_eq!(next(&mut queue, 5), "2.4 3.1 1.10 2.5 1.11");
    }

    #[test]
    fn a_higher_priority_comes_first() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=3, 0);
        push(&mut queue, 1, 4..=4, 7);
        push(&mut queue, 2, 1..=2, 5);
        push(&mut queue, 3, 1..=1, -1);
        assert_eq!(next(&mut queue, 9), "1.4 2.1 2.2 1.1 1.2 1.3 3.1");
        assert!(queue.is_empty());
    }

    #[test]
    fn a_relaunch_has_its_old_place() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=5, 0);
        assert_eq!(next(&mut queue, 3), "1.1 1.2 1.3");
        push(&mut queue, 1, 1..=1, 0);
        assert_eq!(next(&mut queue, 3), "1.1 1.4 1.5");
    }

    #[test]
    fn one_that_fits_nowhere_keeps_nobody_waiting_and_saves_up_no_turns() {
        let mut queue = Queue::default();
        let large = Resources { mem: 9999, ..ONE };
        for task in 1..=10 {
            queue.push(run(1).task(task), demand(large), 9);
        }
        push(&mut queue, 2, 1..=100, 0);
        push(&mut queue, 1, 11..=20, 0);
        assert_eq!(next(&mut queue, 6), "1.11 2.1 1.12 2.2 1.13 2.3");
        assert_eq!(placed(large, &queue), [run(1).task(1)]);
    }

    #[test]
    fn what_is_taken_out_is_not_there() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=2, 0);
        assert!(queue.remove(run(1).task(1)) && !queue.remove(run(1).task(1)));
        assert_eq!((queue.len(), queue.demands().collect::<Vec<_>>()), (1, vec![(&demand(ONE).into(), 1)]));
        assert!(queue.remove(run(1).task(2)) && queue.is_empty());
        assert_eq!(queue.demands().count() + queue.flows().count(), 0);
    }
}
