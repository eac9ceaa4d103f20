//! Checks an agent against placement constraints, given the agents of the task's peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use super::{Agent, Peer};
use borges_task::{Constraint, Operator};

/// The constraints of one request, prepared for one round.
pub(super) struct ConstraintChecker<'a>(Vec<CompiledConstraint<'a>>);

/// One of them.
struct CompiledConstraint<'a> {
    constraint: &'a Constraint,
    /// The pattern of LIKE and UNLIKE.
    pattern: Option<Regex>,
    /// For `GROUP_BY`: the values of agents that fit the request.
    feasible_values: BTreeSet<String>,
}

/// How many peers have each value, for each constraint; shared by all requests of one peer group.
pub(super) struct PeerCounts(Vec<PeerCount>);

/// How many peers have each value of one field.
#[derive(Debug, Default)]
struct PeerCount {
    by_value: BTreeMap<String, u32>,
    /// Some peer's value is not known.
    has_unknown: bool,
}

/// Why an agent is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch<'a> {
    /// It does not meet this one.
    Unmet(&'a Constraint),
    /// Where some peer is must be known for this one, and is not.
    PeerUnknown(&'a Constraint),
}

impl<'a> ConstraintChecker<'a> {
    /// Prepares `constraints` of a request; `feasible` are the agents that fit its amounts.
    pub(super) fn new<'b>(
        constraints: &'a [Constraint],
        feasible: &(impl Iterator<Item = &'b Arc<Agent>> + Clone),
    ) -> Self {
        let compiled = |constraint: &'a Constraint| {
            let values = || feasible.clone().filter_map(|agent| agent.value(&constraint.field));
            let is_group_by = matches!(constraint.operator, Operator::GroupBy(_));
            let feasible_values =
                if is_group_by { values().map(str::to_owned).collect() } else { BTreeSet::new() };
            // A plan holds none that cannot be read.
            let pattern = constraint.operator.pattern().and_then(Result::ok);
            CompiledConstraint { constraint, pattern, feasible_values }
        };
        Self(constraints.iter().map(compiled).collect())
    }

    /// The first constraint that keeps a task off this agent.
    pub(super) fn check(&self, agent: &Agent, counts: &PeerCounts) -> Option<Mismatch<'a>> {
        self.0.iter().zip(&counts.0).find_map(|(compiled, count)| {
            if count.has_unknown {
                return Some(Mismatch::PeerUnknown(compiled.constraint));
            }
            let value = agent.value(&compiled.constraint.field);
            (!compiled.is_met(value, count)).then_some(Mismatch::Unmet(compiled.constraint))
        })
    }

    /// A task goes to this agent.
    pub(super) fn record_placement(&self, agent: &Arc<Agent>, counts: &mut PeerCounts) {
        for (compiled, count) in self.0.iter().zip(&mut counts.0) {
            count.add(compiled.constraint, &Peer::Known(agent.clone()));
        }
    }

    /// Whether an agent that is refused now may be taken later in the round.
    pub(super) fn may_become_feasible(&self) -> bool {
        self.0.iter().any(|compiled| matches!(compiled.constraint.operator, Operator::GroupBy(_)))
    }

    /// The values that peers have for the field of a constraint.
    pub(super) fn peer_values(&self, constraint: &Constraint, counts: &PeerCounts) -> Vec<String> {
        let both = self.0.iter().zip(&counts.0);
        let count = both.filter(|(compiled, _)| compiled.constraint == constraint).map(|(_, count)| count);
        count.flat_map(|count| count.by_value.keys().cloned()).collect()
    }
}

impl CompiledConstraint<'_> {
    fn is_met(&self, value: Option<&str>, count: &PeerCount) -> bool {
        let Some(value) = value else { return matches!(self.constraint.operator, Operator::Unlike(_)) };
        let matches = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match &self.constraint.operator {
            Operator::Unique => count.get(value) == 0,
            Operator::Cluster(Some(wanted)) => value == wanted,
            Operator::Cluster(None) => count.by_value.is_empty() || count.get(value) > 0,
            Operator::GroupBy(min_groups) => {
                count.keeps_balance(value, min_groups.unwrap_or(0), &self.feasible_values)
            }
            Operator::Like(_) => matches(),
            Operator::Unlike(_) => !matches(),
            Operator::MaxPer(max) => count.get(value) < *max,
            Operator::Is(wanted) => values_are_equal(value, wanted),
        }
    }
}

impl PeerCounts {
    /// Of these peers, by constraint.
    pub(super) fn new(constraints: &[Constraint], peers: &[Peer]) -> Self {
        let count = |constraint: &Constraint| {
            let mut count = PeerCount::default();
            for peer in peers {
                count.add(constraint, peer);
            }
            count
        };
        Self(constraints.iter().map(count).collect())
    }
}

impl PeerCount {
    fn add(&mut self, constraint: &Constraint, peer: &Peer) {
        if !constraint.operator.is_relational() {
            return;
        }
        match peer {
            Peer::Known(agent) => {
                if let Some(value) = agent.value(&constraint.field) {
                    *self.by_value.entry(value.to_owned()).or_default() += 1;
                }
            }
            Peer::Unknown => self.has_unknown = true,
        }
    }

    fn get(&self, value: &str) -> u32 {
        self.by_value.get(value).copied().unwrap_or(0)
    }

    /// Whether one more with this value is no more than the least, when there are `min_groups` values at least; a value
    /// with room and no peer yet comes first.
    fn keeps_balance(&self, value: &str, min_groups: u32, feasible_values: &BTreeSet<String>) -> bool {
        let Some(&own) = self.by_value.get(value) else { return true };
        let min = self.by_value.values().min().copied().unwrap_or(0);
        let enough = self.by_value.len() >= usize::try_from(min_groups).unwrap_or(usize::MAX);
        enough && own == min && feasible_values.iter().all(|value| self.by_value.contains_key(value))
    }
}

/// As text, or as numbers: Mesos gives `4.0` as 4.
fn values_are_equal(value: &str, wanted: &str) -> bool {
    let numbers = value.parse::<f64>().ok().zip(wanted.parse::<f64>().ok());
    value == wanted || numbers.is_some_and(|(value, wanted)| value.total_cmp(&wanted).is_eq())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use borges_task::Field;

    fn agent(rack: &str) -> Arc<Agent> {
        let attributes =
            (!rack.is_empty()).then(|| ("rack".to_owned(), rack.to_owned())).into_iter().collect();
        Arc::new(Agent { hostname: format!("h{rack}"), attributes, ..Agent::default() })
    }

    /// Which of four agents, one without a rack, each operator takes, by where its peers are.
    #[test]
    fn operators_accept_the_expected_agents() {
        let text = str::to_owned;
        let operators = [
            Operator::Unique,
            Operator::Cluster(None),
            Operator::Cluster(Some(text("2"))),
            Operator::GroupBy(None),
            Operator::GroupBy(Some(4)),
            Operator::Like(text("[12]")),
            Operator::Like(text("1|")),
            Operator::Unlike(text("[12]")),
            Operator::MaxPer(2),
            Operator::Is(text("3.0")),
            Operator::Is(text("three")),
        ];
        let racks = ["1", "2", "3", ""];
        let mut table = String::new();
        for operator in operators {
            let constraint = Constraint { field: Field::Attribute(text("rack")), operator };
            write!(table, "{:20}", constraint.to_string()).unwrap();
            for peers in [&[][..], &["1"], &["1", "1", "2"], &["1", "2", "3"]] {
                let located: Vec<_> = peers.iter().map(|rack| Peer::Known(agent(rack))).collect();
                let agents: Vec<_> = racks.into_iter().map(agent).collect();
                let constraints = std::slice::from_ref(&constraint);
                let (checker, counts) = (
                    ConstraintChecker::new(constraints, &agents.iter()),
                    PeerCounts::new(constraints, &located),
                );
                let mark = |agent: &Arc<Agent>| {
                    if checker.check(agent, &counts).is_none() { 'x' } else { '.' }
                };
                let marks: String = agents.iter().map(mark).collect();
                write!(table, " {:>4} {marks}", peers.concat()).unwrap();
            }
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn unknown_peer_blocks_relational_constraints_only() {
        let is_refused = |operator| {
            let constraint = Constraint { field: Field::Hostname, operator };
            let agents = [agent("1")];
            let constraints = std::slice::from_ref(&constraint);
            let checker = ConstraintChecker::new(constraints, &agents.iter());
            checker.check(&agents[0], &PeerCounts::new(constraints, &[Peer::Unknown])).is_some()
        };
        assert!(is_refused(Operator::Unique));
        assert!(!is_refused(Operator::Is("h1".to_owned())));
    }
}
