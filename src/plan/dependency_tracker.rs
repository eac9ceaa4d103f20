//! Tracks the dependencies of one run: which tasks are released or skipped when another task changes its state.

use borges_task::{DependencyKind, Edge, Ensure, Input, State, index_of};

/// The unmet dependencies of one run.
#[derive(Debug, Clone, Default)]
pub struct DependencyTracker {
    /// Sorted by `from`; `true` once the dependency is met.
    edges: Vec<(Edge, bool)>,
    /// The number of unmet dependencies of each task; the task with number `n` is at `n - 1`.
    open_dependencies: Vec<u32>,
}

impl DependencyTracker {
    /// The tracker of a run with `tasks` tasks, none of which has started.
    pub fn new(tasks: usize, edges: &[Edge]) -> Self {
        let mut edges: Vec<_> = edges.iter().map(|&edge| (edge, false)).collect();
        edges.sort_unstable_by_key(|(edge, _)| (edge.from, edge.to));
        let mut tracker = Self { edges, open_dependencies: vec![0; tasks] };
        for at in 0..tracker.edges.len() {
            let to = tracker.edges[at].0.to;
            if let Some(count) = tracker.open_count(to) {
                *count += 1;
            }
        }
        tracker
    }

    /// Whether all dependencies of the task are met.
    pub fn is_ready(&self, number: u32) -> bool {
        index_of(number).and_then(|index| self.open_dependencies.get(index)).is_none_or(|&count| count == 0)
    }

    /// A task is in a new state: what happens to those that wait for it.
    ///
    /// Each is told once: [`Input::DependenciesMet`] when its last wait is over, [`Input::DependencyFailed`] when what it
    /// needs did not come.
    pub fn changed(&mut self, number: u32, state: State, ensure: Ensure) -> Vec<(u32, Input)> {
        let Some(milestone) = milestone(state, ensure) else { return Vec::new() };
        let first = self.edges.partition_point(|(edge, _)| edge.from < number);
        let mut released = Vec::new();
        for at in first..self.edges.len() {
            let (Edge { from, to, requirement }, is_met) = self.edges[at];
            if from != number {
                break;
            }
            if is_met {
                continue;
            }
            match (milestone, requirement) {
                (Milestone::Success, _)
                | (Milestone::Failure, DependencyKind::Completed)
                | (Milestone::Service, DependencyKind::Succeeded) => {
                    self.edges[at].1 = true;
                    if let Some(count) = self.open_count(to) {
                        *count -= 1;
                        if *count == 0 {
                            released.push((to, Input::DependenciesMet));
                        }
                    }
                }
                (Milestone::Failure, DependencyKind::Succeeded) => {
                    released.push((to, Input::DependencyFailed));
                }
                (Milestone::Service, DependencyKind::Completed) => {}
            }
        }
        released
    }

    /// The tasks that this one still depends on.
    pub fn unmet(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.edges
            .iter()
            .filter(move |(edge, is_met)| edge.to == number && !is_met)
            .map(|(edge, _)| edge.from)
    }

    fn open_count(&mut self, number: u32) -> Option<&mut u32> {
        self.open_dependencies.get_mut(index_of(number)?)
    }
}

/// The state of a task as its dependents see it.
#[derive(Clone, Copy)]
enum Milestone {
    Success,
    Failure,
    /// A service is running: satisfies `:requires`, but not `:after`.
    Service,
}

fn milestone(state: State, ensure: Ensure) -> Option<Milestone> {
    match (state, ensure) {
        (State::Finished, _) => Some(Milestone::Success),
        (State::Failed | State::Killed | State::Skipped, _) => Some(Milestone::Failure),
        (State::Running, Ensure::KeepsRunning) => Some(Milestone::Service),
        (State::Running, Ensure::Finishes)
        | (
            State::Held
            | State::Blocked
            | State::Queued
            | State::Delayed
            | State::Launching
            | State::Unreachable
            | State::Killing,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: u32, to: u32, requirement: DependencyKind) -> Edge {
        Edge { from, to, requirement }
    }

    #[test]
    fn dependencies_are_met_once() {
        use DependencyKind::{Completed, Succeeded};
        let mut tracker = DependencyTracker::new(
            4,
            &[edge(1, 3, Succeeded), edge(2, 3, Completed), edge(1, 4, Completed), edge(2, 4, Succeeded)],
        );
        assert!(tracker.is_ready(1) && tracker.is_ready(2) && !tracker.is_ready(3));
        assert_eq!(tracker.changed(1, State::Running, Ensure::Finishes), []);
        assert_eq!(tracker.changed(1, State::Finished, Ensure::Finishes), []);
        assert_eq!(tracker.unmet(3).collect::<Vec<_>>(), [2]);
        assert_eq!(
            tracker.changed(2, State::Failed, Ensure::Finishes),
            [(3, Input::DependenciesMet), (4, Input::DependencyFailed)]
        );
        assert!(tracker.is_ready(3));
    }

    #[test]
    fn service_dependents_are_released_once() {
        use DependencyKind::{Completed, Succeeded};
        let mut tracker = DependencyTracker::new(3, &[edge(1, 2, Succeeded), edge(1, 3, Completed)]);
        assert_eq!(tracker.changed(1, State::Running, Ensure::KeepsRunning), [(2, Input::DependenciesMet)]);
        assert_eq!(tracker.changed(1, State::Running, Ensure::KeepsRunning), []);
        assert_eq!(tracker.changed(1, State::Killed, Ensure::KeepsRunning), [(3, Input::DependenciesMet)]);
    }
}
