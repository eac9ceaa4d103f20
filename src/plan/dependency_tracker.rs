//! How far a run is: which waiting tasks are set free, or can never run, as others end.

use borges_task::{DependencyKind, Edge, Ensure, Input, State, index_of};

/// The open waits of one run.
#[derive(Debug, Clone, Default)]
pub struct DependencyTracker {
    /// Sorted by the task that is waited for; `true` once the wait is over.
    edges: Vec<(Edge, bool)>,
    /// How many waits are open for each task; the task with number `n` is at `n - 1`.
    open: Vec<u32>,
}

impl DependencyTracker {
    /// Of a run with `tasks` tasks, none of which has begun.
    pub fn new(tasks: usize, edges: &[Edge]) -> Self {
        let mut edges: Vec<_> = edges.iter().map(|&edge| (edge, false)).collect();
        edges.sort_unstable_by_key(|(edge, _)| (edge.from, edge.to));
        let mut progress = Self { edges, open: vec![0; tasks] };
        for at in 0..progress.edges.len() {
            let to = progress.edges[at].0.to;
            if let Some(open) = progress.open_of(to) {
                *open += 1;
            }
        }
        progress
    }

    /// Whether the task waits for no other.
    pub fn is_ready(&self, number: u32) -> bool {
        index_of(number).and_then(|place| self.open.get(place)).is_none_or(|&open| open == 0)
    }

    /// A task is in a new state: what happens to those that wait for it.
    ///
    /// Each is told once: [`InputRef::DependenciesMet`] when its last wait is over, [`InputRef::DependencyFailed`] when what it
    /// needs did not come.
    pub fn changed(&mut self, number: u32, state: State, ensure: Ensure) -> Vec<(u32, Input)> {
        let Some(reached) = reached(state, ensure) else { return Vec::new() };
        let first = self.edges.partition_point(|(edge, _)| edge.from < number);
        let mut told = Vec::new();
        for at in first..self.edges.len() {
            let (Edge { from, to, requirement }, over) = self.edges[at];
            if from != number {
                break;
            }
            if over {
                continue;
            }
            match (reached, requirement) {
                (Milestone::Success, _)
                | (Milestone::Failure, DependencyKind::Completed)
                | (Milestone::Service, DependencyKind::Succeeded) => {
                    self.edges[at].1 = true;
                    if let Some(open) = self.open_of(to) {
                        *open -= 1;
                        if *open == 0 {
                            told.push((to, Input::DependenciesMet));
                        }
                    }
                }
                (Milestone::Failure, DependencyKind::Succeeded) => told.push((to, Input::DependencyFailed)),
                (Milestone::Service, DependencyKind::Completed) => {}
            }
        }
        told
    }

    /// The tasks for which this one waits still.
    pub fn unmet(&self, number: u32) -> impl Iterator<Item = u32> + '_ {
        self.edges.iter().filter(move |(edge, over)| edge.to == number && !over).map(|(edge, _)| edge.from)
    }

    fn open_of(&mut self, number: u32) -> Option<&mut u32> {
        self.open.get_mut(index_of(number)?)
    }
}

/// What others may have waited for.
#[derive(Clone, Copy)]
enum Milestone {
    Success,
    Failure,
    /// A service runs: as good as success for who needs it, no end for who comes after it.
    Service,
}

fn reached(state: State, ensure: Ensure) -> Option<Milestone> {
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
    fn waits_end_once_and_for_all() {
        use DependencyKind::{Completed, Succeeded};
        let mut run = DependencyTracker::new(
            4,
            &[edge(1, 3, Succeeded), edge(2, 3, Completed), edge(1, 4, Completed), edge(2, 4, Succeeded)],
        );
        assert!(run.is_ready(1) && run.is_ready(2) && !run.is_ready(3));
        assert_eq!(run.changed(1, State::Running, Ensure::Finishes), []);
        assert_eq!(run.changed(1, State::Finished, Ensure::Finishes), []);
        assert_eq!(run.unmet(3).collect::<Vec<_>>(), [2]);
        assert_eq!(
            run.changed(2, State::Failed, Ensure::Finishes),
            [(3, Input::DependenciesMet), (4, Input::DependencyFailed)]
        );
        assert!(run.is_ready(3));
    }

    #[test]
    fn who_needs_a_service_starts_when_it_runs_and_not_again() {
        use DependencyKind::{Completed, Succeeded};
        let mut run = DependencyTracker::new(3, &[edge(1, 2, Succeeded), edge(1, 3, Completed)]);
        assert_eq!(run.changed(1, State::Running, Ensure::KeepsRunning), [(2, Input::DependenciesMet)]);
        assert_eq!(run.changed(1, State::Running, Ensure::KeepsRunning), []);
        assert_eq!(run.changed(1, State::Killed, Ensure::KeepsRunning), [(3, Input::DependenciesMet)]);
    }
}
