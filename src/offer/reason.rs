//! Why a task was not placed, from the most to the least telling.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::Resources;

/// Why no offer of a round took a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// There was no offer at all.
    NoOffers,
    /// More of one kind is asked for than any offer had.
    TooMuch {
        /// The kind that lacks most clearly: the first of cpu, mem, disk, gpus.
        kind: Kind,
        /// Asked for: milli-cpus, MiB, or whole GPUs.
        wants: u64,
        /// The most that an offer had.
        largest: u64,
        /// How many offers there were.
        offers: usize,
    },
    /// Each kind was there, but not all in one offer.
    NotTogether {
        /// How many offers there were.
        offers: usize,
    },
    /// It would have fitted, but older tasks came first.
    Outrun,
}

/// A kind of resource, named as the header argument that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `:cpu`, in thousandths.
    Cpu,
    /// `:mem`, in MiB.
    Mem,
    /// `:disk`, in MiB.
    Disk,
    /// `:gpus`.
    Gpus,
}

impl Kind {
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

    /// An amount of this kind, as a document writes it.
    #[expect(clippy::cast_precision_loss, reason = "milli-cpus of one machine are far below 2^52")]
    fn written(self, amount: u64) -> String {
        match self {
            Self::Cpu => (amount as f64 / 1000.0).to_string(),
            Self::Mem | Self::Disk => format!("{amount} MiB"),
            Self::Gpus => amount.to_string(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => ":cpu",
            Self::Mem => ":mem",
            Self::Disk => ":disk",
            Self::Gpus => ":gpus",
        })
    }
}

impl Reason {
    /// Why `wants` fits none of `offers`; [`Reason::Outrun`] when it does fit one.
    pub fn of(wants: &Resources, offers: &[Resources]) -> Self {
        if offers.is_empty() {
            return Self::NoOffers;
        }
        let largest = offers.iter().fold(Resources::default(), |largest, offer| largest.larger(offer));
        for kind in Kind::ALL {
            let (wants, largest) = (kind.of(wants), kind.of(&largest));
            if wants > largest {
                return Self::TooMuch { kind, wants, largest, offers: offers.len() };
            }
        }
        if offers.iter().any(|offer| offer.hold(wants)) {
            Self::Outrun
        } else {
            Self::NotTogether { offers: offers.len() }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoOffers => f.write_str("the cluster offers nothing now"),
            Self::TooMuch { kind, wants, largest, offers: 1 } => {
                write!(f, "{kind} {}: the one offer had {}", kind.written(wants), kind.written(largest))
            }
            Self::TooMuch { kind, wants, largest, offers } => write!(
                f,
                "{kind} {}: the largest of {offers} offers had {}",
                kind.written(wants),
                kind.written(largest)
            ),
            Self::NotTogether { offers } => {
                write!(f, "none of {offers} offers had all that is asked for at once")
            }
            Self::Outrun => f.write_str("older tasks came first"),
        }
    }
}
