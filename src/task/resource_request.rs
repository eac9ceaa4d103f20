//! A task's request for resources: amounts, ports and placement constraints that an agent must satisfy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::ids::RunId;
use super::resources::Resources;

/// All that decides which offers take a task. Tasks with equal demands are alike to the matcher.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ResourceRequest {
    /// How much of everything.
    pub resources: Resources,
    /// After which time it has ended, if it said so.
    pub max_runtime: Option<Duration>,
    /// What it asks beside amounts; nothing for most.
    pub requirements: Option<Arc<Requirements>>,
    /// Its run, where a constraint compares it with tasks of that run.
    pub constraint_group: Option<RunId>,
}

/// What a task asks of an agent beside amounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Requirements {
    /// `:expose`, in the order written.
    pub ports: Vec<Port>,
    /// `:constraint`, in the order written; all must hold.
    pub constraints: Vec<Constraint>,
}

/// A port that a task listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// Of the agent; 0 is any one it offers.
    pub host: u16,
    /// Within the task's container; 0 is the same as the agent's.
    pub container: u16,
}

/// What must hold of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Constraint {
    /// What of the agent is looked at.
    pub field: Field,
    /// How.
    pub operator: Operator,
}

/// What a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// The machine's name.
    Hostname,
    /// The agent's id.
    Agent,
    /// Where it stands, at large. Source: Mesos, fault domains.
    Region,
    /// Where it stands, more closely.
    Zone,
    /// An attribute, by its name.
    Attribute(String),
}

/// How a constraint decides; those of Marathon. Source: Marathon, "Constraints".
///
/// Some compare the agents of the tasks of one run that have the same constraints, its *peers*. Where the agent
/// has no such attribute none holds but [`Operator::Unlike`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// No peer has the same value.
    Unique,
    /// All peers have the same value: this one, when it is named.
    Cluster(Option<String>),
    /// Peers are spread evenly over the values, of which there are at least so many.
    GroupBy(Option<u32>),
    /// The whole value matches this regular expression.
    Like(String),
    /// It does not.
    Unlike(String),
    /// At most so many peers have the same value.
    MaxPer(u32),
    /// The value is this one.
    Is(String),
}

impl Operator {
    /// Whether it compares a task with its peers.
    pub fn is_relational(&self) -> bool {
        match self {
            Self::Unique | Self::Cluster(None) | Self::GroupBy(_) | Self::MaxPer(_) => true,
            Self::Cluster(Some(_)) | Self::Like(_) | Self::Unlike(_) | Self::Is(_) => false,
        }
    }

    /// The expression for the whole of a value that LIKE and UNLIKE have; an error where it cannot be read.
    pub fn pattern(&self) -> Option<Result<Regex, regex::Error>> {
        let (Self::Like(text) | Self::Unlike(text)) = self else { return None };
        // By itself first: in the frame a parenthesis too many would close that.
        Some(Regex::new(text).and_then(|_| Regex::new(&format!("^(?:{text})$"))))
    }
}

/// As a document writes it: `rack:LIKE:r[12]`.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, operator } = self;
        match operator {
            Operator::Unique => write!(f, "{field}:UNIQUE"),
            Operator::Cluster(None) => write!(f, "{field}:CLUSTER"),
            Operator::Cluster(Some(value)) => write!(f, "{field}:CLUSTER:{value}"),
            Operator::GroupBy(None) => write!(f, "{field}:GROUP_BY"),
            Operator::GroupBy(Some(min_groups)) => write!(f, "{field}:GROUP_BY:{min_groups}"),
            Operator::Like(pattern) => write!(f, "{field}:LIKE:{pattern}"),
            Operator::Unlike(pattern) => write!(f, "{field}:UNLIKE:{pattern}"),
            Operator::MaxPer(max) => write!(f, "{field}:MAX_PER:{max}"),
            Operator::Is(value) => write!(f, "{field}:IS:{value}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hostname => "hostname",
            Self::Agent => "agent",
            Self::Region => "@region",
            Self::Zone => "@zone",
            Self::Attribute(name) => name,
        })
    }
}

/// As a document writes it: `8080:80`, or `8080` where both are the same.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.container {
            0 => write!(f, "{}", self.host),
            same if same == self.host => write!(f, "{same}"),
            container => write!(f, "{}:{container}", self.host),
        }
    }
}
