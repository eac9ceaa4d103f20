//! Why a task was not placed: the failures, from the most to the least specific, and their messages.

use std::fmt;

use serde::{Deserialize, Serialize};

use borges_task::{Constraint, Resources};

/// Why no offer took a task.
///
/// Where there were offers, how many they were: of all of them for a constraint, then of those that passed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementFailure {
    /// There was no offer at all.
    NoOffers,
    /// No agent meets a constraint.
    ConstraintUnmet {
        /// The one that most agents fail, of those each fails first.
        constraint: Constraint,
        /// Some of what the agents have instead.
        have: Vec<String>,
        /// Some of where its peers are.
        taken: Vec<String>,
        /// How many offers there were.
        offers: usize,
    },
    /// A peer is on an agent of which nothing is known since the start.
    PeerLocationUnknown {
        /// What it is compared by.
        constraint: Constraint,
    },
    /// Each agent will be away before the block would end.
    MaintenancePlanned {
        /// How many offers there were.
        offers: usize,
    },
    /// More of one kind is asked for than any offer had.
    InsufficientResource {
        /// The kind that lacks most clearly: the first of cpu, mem, disk, gpus.
        kind: ResourceKind,
        /// Asked for: milli-cpus, MiB, or whole GPUs.
        requested: u64,
        /// The most that an offer had.
        largest: u64,
        /// How many offers there were.
        offers: usize,
    },
    /// A port that is named is free nowhere.
    PortTaken {
        /// The port.
        port: u16,
        /// How many offers there were.
        offers: usize,
    },
    /// More ports are asked for than any offer had.
    InsufficientPorts {
        /// How many are asked for.
        requested: usize,
        /// The most that an offer had.
        most: u64,
        /// How many offers there were.
        offers: usize,
    },
    /// Each kind was there, but not all in one offer.
    Fragmented {
        /// How many offers there were.
        offers: usize,
    },
    /// It would have fitted, but older tasks came first.
    Outranked,
}

/// A kind of resource, named as the header argument that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceKind {
    /// `:cpu`, in thousandths.
    Cpu,
    /// `:mem`, in MiB.
    Mem,
    /// `:disk`, in MiB.
    Disk,
    /// `:gpus`.
    Gpus,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Mem, Self::Disk, Self::Gpus];

    /// How much of this kind there is.
    pub fn of(self, amounts: &Resources) -> u64 {
        match self {
            Self::Cpu => amounts.milli_cpus,
            Self::Mem => amounts.mem,
            Self::Disk => amounts.disk,
            Self::Gpus => amounts.gpus,
        }
    }

    /// An amount of this kind, as a document asks for it.
    #[expect(clippy::cast_precision_loss, reason = "milli-cpus of one machine are far below 2^52")]
    fn format_requested(self, amount: u64) -> String {
        match self {
            Self::Cpu => (amount as f64 / 1000.0).to_string(),
            Self::Mem | Self::Disk | Self::Gpus => amount.to_string(),
        }
    }

    /// An amount of this kind, as it is offered.
    fn format_offered(self, amount: u64) -> String {
        match self {
            Self::Cpu | Self::Gpus => self.format_requested(amount),
            Self::Mem | Self::Disk => format!("{amount} MB"),
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => ":cpu",
            Self::Mem => ":mem",
            Self::Disk => ":disk",
            Self::Gpus => ":gpus",
        })
    }
}

impl fmt::Display for PlacementFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOffers => f.write_str("the cluster offers nothing now"),
            Self::ConstraintUnmet { constraint, have, taken, offers } => {
                write!(f, ":constraint {constraint}: {}", NoneOf("met by", *offers))?;
                if have.is_empty() {
                    write!(f, "; no agent has `{}`", constraint.field)?;
                } else {
                    write!(f, "; {} was {}", constraint.field, have.join(", "))?;
                }
                if taken.is_empty() { Ok(()) } else { write!(f, "; others are on {}", taken.join(", ")) }
            }
            Self::PeerLocationUnknown { constraint } => {
                write!(f, ":constraint {constraint}: another is on an agent that has offered nothing yet")
            }
            Self::MaintenancePlanned { offers } => {
                match offers {
                    1 => f.write_str("the agent")?,
                    _ => write!(f, "each of {offers} agents")?,
                }
                f.write_str(" goes into maintenance before the block would end, which `:timeout` would tell")
            }
            Self::InsufficientResource { kind, requested, largest, offers } => {
                write!(
                    f,
                    "{kind} {}: {} {}",
                    kind.format_requested(*requested),
                    LargestOf(*offers),
                    kind.format_offered(*largest)
                )
            }
            Self::PortTaken { port, offers } => write!(f, ":expose {port}: {}", NoneOf("free in", *offers)),
            Self::InsufficientPorts { requested, most, offers } => {
                write!(f, ":expose: {requested} ports, {} {most}", LargestOf(*offers))
            }
            Self::Fragmented { offers: 1 } => {
                f.write_str("the one offer in the last 60 s had not all that is asked for at once")
            }
            Self::Fragmented { offers } => {
                write!(f, "none of {offers} offers in the last 60 s had all that is asked for at once")
            }
            Self::Outranked => f.write_str("it would fit: others came first"),
        }
    }
}

/// That no offer is what it should be: `met by`, `free in`.
struct NoneOf(&'static str, usize);

/// What the largest of so many offers had.
struct LargestOf(usize);

impl fmt::Display for NoneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(what, 1) => write!(f, "not {what} the one offer in the last 60 s"),
            Self(what, offers) => write!(f, "{what} none of {offers} offers in the last 60 s"),
        }
    }
}

impl fmt::Display for LargestOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("the one offer in the last 60 s had"),
            offers => write!(f, "the largest of {offers} offers in the last 60 s had"),
        }
    }
}
