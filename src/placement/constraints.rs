//! Whether an agent meets constraints, given where a task's peers are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use super::{Agent, Peer};
use borges_task::{Constraint, Operator};

/// The constraints of a demand during one round.
pub(super) struct ConstraintChecker<'a>(Vec<Term<'a>>);

/// One of them.
struct Term<'a> {
    constraint: &'a Constraint,
    /// Of LIKE and UNLIKE.
    pattern: Option<Regex>,
    /// Of `GROUP_BY`: the values of agents that have room for the demand.
    room: BTreeSet<String>,
}

/// Where the peers of a demand are, by constraint: common to all demands whose tasks are peers.
pub(super) struct PeerCounts(Vec<PeerCount>);

/// How many peers have each value of one field.
#[derive(Debug, Default)]
struct PeerCount {
    peers: BTreeMap<String, u32>,
    /// Some peer's value is not known.
    blind: bool,
}

/// Why an agent is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch<'a> {
    /// It does not meet this one.
    Unmet(&'a Constraint),
    /// Where some peer is must be known for this one, and is not.
    Blind(&'a Constraint),
}

impl<'a> ConstraintChecker<'a> {
    /// `constraints` of a demand for which these agents have room.
    pub(super) fn new<'b>(
        constraints: &'a [Constraint],
        with_room: &(impl Iterator<Item = &'b Arc<Agent>> + Clone),
    ) -> Self {
        let term = |constraint: &'a Constraint| {
            let values = || with_room.clone().filter_map(|agent| agent.value(&constraint.field));
            let is_spread = matches!(constraint.operator, Operator::GroupBy(_));
            let room = if is_spread { values().map(str::to_owned).collect() } else { BTreeSet::new() };
            // A plan holds none that cannot be read.
            let pattern = constraint.operator.pattern().and_then(Result::ok);
            Term { constraint, pattern, room }
        };
        Self(constraints.iter().map(term).collect())
    }

    /// The first constraint that keeps a task off this agent.
    pub(super) fn check(&self, agent: &Agent, tallies: &PeerCounts) -> Option<Mismatch<'a>> {
        self.0.iter().zip(&tallies.0).find_map(|(term, tally)| {
            if tally.blind {
                return Some(Mismatch::Blind(term.constraint));
            }
            let value = agent.value(&term.constraint.field);
            (!term.holds(value, tally)).then_some(Mismatch::Unmet(term.constraint))
        })
    }

    /// A task goes to this agent.
    pub(super) fn place(&self, agent: &Arc<Agent>, tallies: &mut PeerCounts) {
        for (term, tally) in self.0.iter().zip(&mut tallies.0) {
            tally.add(term.constraint, &Peer::Known(agent.clone()));
        }
    }

    /// Whether an agent that is refused now may be taken later in the round.
    pub(super) fn may_become_feasible(&self) -> bool {
        self.0.iter().any(|term| matches!(term.constraint.operator, Operator::GroupBy(_)))
    }

    /// The values that peers have for the field of a constraint.
    pub(super) fn taken(&self, constraint: &Constraint, tallies: &PeerCounts) -> Vec<String> {
        let both = self.0.iter().zip(&tallies.0);
        let tally = both.filter(|(term, _)| term.constraint == constraint).map(|(_, tally)| tally);
        tally.flat_map(|tally| tally.peers.keys().cloned()).collect()
    }
}

impl Term<'_> {
    fn holds(&self, value: Option<&str>, tally: &PeerCount) -> bool {
        let Some(value) = value else { return matches!(self.constraint.operator, Operator::Unlike(_)) };
        let matches = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match &self.constraint.operator {
            Operator::Unique => tally.of(value) == 0,
            Operator::Cluster(Some(wanted)) => value == wanted,
            Operator::Cluster(None) => tally.peers.is_empty() || tally.of(value) > 0,
            Operator::GroupBy(groups) => tally.spreads(value, groups.unwrap_or(0), &self.room),
            Operator::Like(_) => matches(),
            Operator::Unlike(_) => !matches(),
            Operator::MaxPer(most) => tally.of(value) < *most,
            Operator::Is(wanted) => is_same(value, wanted),
        }
    }
}

impl PeerCounts {
    /// Of these peers, by constraint.
    pub(super) fn new(constraints: &[Constraint], peers: &[Peer]) -> Self {
        let tally = |constraint: &Constraint| {
            let mut tally = PeerCount::default();
            for peer in peers {
                tally.add(constraint, peer);
            }
            tally
        };
        Self(constraints.iter().map(tally).collect())
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
                    *self.peers.entry(value.to_owned()).or_default() += 1;
                }
            }
            Peer::Unknown => self.blind = true,
        }
    }

    fn of(&self, value: &str) -> u32 {
        self.peers.get(value).copied().unwrap_or(0)
    }

    /// Whether one more with this value is no more than the least, when there are `groups` values at least; a value
    /// with room and no peer yet comes first.
    fn spreads(&self, value: &str, groups: u32, room: &BTreeSet<String>) -> bool {
        let Some(&mine) = self.peers.get(value) else { return true };
        let least = self.peers.values().min().copied().unwrap_or(0);
        let enough = self.peers.len() >= usize::try_from(groups).unwrap_or(usize::MAX);
        enough && mine == least && room.iter().all(|value| self.peers.contains_key(value))
    }
}

/// As text, or as numbers: Mesos gives `4.0` as 4.
fn is_same(value: &str, wanted: &str) -> bool {
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
    fn table() {
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
                let known: Vec<_> = peers.iter().map(|rack| Peer::Known(agent(rack))).collect();
                let agents: Vec<_> = racks.into_iter().map(agent).collect();
                let constraints = std::slice::from_ref(&constraint);
                let (terms, tallies) = (
                    ConstraintChecker::new(constraints, &agents.iter()),
                    PeerCounts::new(constraints, &known),
                );
                let mark = |agent: &Arc<Agent>| {
                    if terms.check(agent, &tallies).is_none() { 'x' } else { '.' }
                };
                let marks: String = agents.iter().map(mark).collect();
                write!(table, " {:>4} {marks}", peers.concat()).unwrap();
            }
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_peer_in_the_dark_is_waited_for_only_where_it_matters() {
        let refused = |operator| {
            let constraint = Constraint { field: Field::Hostname, operator };
            let agents = [agent("1")];
            let constraints = std::slice::from_ref(&constraint);
            let terms = ConstraintChecker::new(constraints, &agents.iter());
            terms.check(&agents[0], &PeerCounts::new(constraints, &[Peer::Unknown])).is_some()
        };
        assert!(refused(Operator::Unique));
        assert!(!refused(Operator::Is("h1".to_owned())));
    }
}
