//! The tasks that wait for an offer, in service order.

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
    request_counts: HashMap<Arc<ResourceRequest>, usize>,
    /// The last turn that was taken with each priority: a flow that begins to wait is as if it had come then.
    last_turns: HashMap<i32, u64>,
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
    pub fn push(&mut self, task: TaskId, request: ResourceRequest, priority: i32) {
        if self.waiting.contains_key(&task) {
            return;
        }
        let existing = self.request_counts.get_key_value(&request).map(|(request, _)| request.clone());
        let request = existing.unwrap_or_else(|| Arc::new(request));
        self.waiting.insert(task, (request.clone(), priority));
        *self.request_counts.entry(request.clone()).or_default() += 1;
        let number = *self
            .turns
            .entry((task.run, priority))
            .or_insert_with(|| self.last_turns.get(&priority).copied().unwrap_or_default());
        let order = ServiceOrder { priority: Reverse(priority), number, run: task.run };
        self.flows.entry(order).or_default().entry(request).or_default().insert(task.number);
    }

    /// Takes a task out; `false` when it does not wait.
    pub fn remove(&mut self, task: TaskId) -> bool {
        let Some((request, priority)) = self.waiting.remove(&task) else { return false };
        if let Some(count) = self.request_counts.get_mut(&request) {
            *count -= 1;
            if *count == 0 {
                self.request_counts.remove(&request);
            }
        }
        let flow = (task.run, priority);
        let Some(&number) = self.turns.get(&flow) else { return true };
        let order = ServiceOrder { priority: Reverse(priority), number, run: task.run };
        let Some(groups) = self.flows.get_mut(&order) else { return true };
        if let Some(group) = groups.get_mut(&request) {
            group.remove(&task.number);
            if group.is_empty() {
                groups.remove(&request);
            }
        }
        if groups.is_empty() {
            self.flows.remove(&order);
            self.turns.remove(&flow);
        }
        true
    }

    /// These tasks were placed: they wait no longer, and their flows have had as many turns.
    pub fn mark_placed(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        let mut turns_used: BTreeMap<(RunId, i32), (u64, u64)> = BTreeMap::new();
        for task in tasks {
            let Some(&(_, priority)) = self.waiting.get(&task) else { continue };
            let flow = (task.run, priority);
            let number = self.turns.get(&flow).copied().unwrap_or_default();
            turns_used.entry(flow).or_insert((number, 0)).1 += 1;
            self.remove(task);
        }
        for ((run, priority), (number, turns)) in turns_used {
            let last_turn = self.last_turns.entry(priority).or_default();
            *last_turn = (*last_turn).max(number + turns - 1);
            let Some(turn) = self.turns.get_mut(&(run, priority)) else { continue };
            // Nobody saves up turns: who could not use one for long does not have all that follow.
            *turn = (number + turns).max(*last_turn);
            let order_at = |number| ServiceOrder { priority: Reverse(priority), number, run };
            if let Some(groups) = self.flows.remove(&order_at(number)) {
                self.flows.insert(order_at(*turn), groups);
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
        self.flows.iter().map(|(&order, groups)| (order, groups))
    }

    /// Waiting tasks that ask for `request`, those whose turn it is first, flow by flow.
    pub fn with_request<'a>(&'a self, request: &'a ResourceRequest) -> impl Iterator<Item = TaskId> + 'a {
        let numbers =
            self.flows.iter().filter_map(move |(order, groups)| Some((order.run, groups.get(request)?)));
        numbers.flat_map(|(run, numbers)| numbers.iter().map(move |&number| run.task(number)))
    }

    /// The distinct requests, and how many tasks have each; in no order.
    pub fn requests(&self) -> impl Iterator<Item = (&Arc<ResourceRequest>, usize)> + '_ {
        self.request_counts.iter().map(|(request, &tasks)| (request, tasks))
    }

    /// What a waiting task asks for.
    pub fn request(&self, task: TaskId) -> Option<&Arc<ResourceRequest>> {
        self.waiting.get(&task).map(|(request, _)| request)
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

    fn request(resources: Resources) -> ResourceRequest {
        ResourceRequest { resources, ..ResourceRequest::default() }
    }

    /// The tasks that are placed where so much is offered.
    fn placed(free: Resources, queue: &Queue) -> Vec<TaskId> {
        let offer =
            Offer { ids: Vec::new(), agent: Arc::default(), free, ports: Vec::new(), maintenance: None };
        let round = match_offers(&[offer], queue, &PeerLocations::default(), Timestamp::UNIX_EPOCH);
        round
            .placements
            .iter()
            .flat_map(|placement| &placement.assignments)
            .map(|assignment| assignment.task)
            .collect()
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
            queue.push(run(number).task(task), request(ONE), priority);
        }
    }

    #[test]
    fn large_run_does_not_starve_a_small_one() {
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
    fn higher_priority_is_placed_first() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=3, 0);
        push(&mut queue, 1, 4..=4, 7);
        push(&mut queue, 2, 1..=2, 5);
        push(&mut queue, 3, 1..=1, -1);
        assert_eq!(next(&mut queue, 9), "1.4 2.1 2.2 1.1 1.2 1.3 3.1");
        assert!(queue.is_empty());
    }

    #[test]
    fn relaunched_task_keeps_its_position() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=5, 0);
        assert_eq!(next(&mut queue, 3), "1.1 1.2 1.3");
        push(&mut queue, 1, 1..=1, 0);
        assert_eq!(next(&mut queue, 3), "1.1 1.4 1.5");
    }

    #[test]
    fn unplaceable_tasks_neither_block_others_nor_save_turns() {
        let mut queue = Queue::default();
        let large = Resources { mem: 9999, ..ONE };
        for task in 1..=10 {
            queue.push(run(1).task(task), request(large), 9);
        }
        push(&mut queue, 2, 1..=100, 0);
        push(&mut queue, 1, 11..=20, 0);
        assert_eq!(next(&mut queue, 6), "1.11 2.1 1.12 2.2 1.13 2.3");
        assert_eq!(placed(large, &queue), [run(1).task(1)]);
    }

    #[test]
    fn removed_tasks_leave_no_trace() {
        let mut queue = Queue::default();
        push(&mut queue, 1, 1..=2, 0);
        assert!(queue.remove(run(1).task(1)) && !queue.remove(run(1).task(1)));
        assert_eq!((queue.len(), queue.requests().collect::<Vec<_>>()), (1, vec![(&request(ONE).into(), 1)]));
        assert!(queue.remove(run(1).task(2)) && queue.is_empty());
        assert_eq!(queue.requests().count() + queue.flows().count(), 0);
    }
}
