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

    /// An amount of this kind, as a document asks for it.
    #[expect(clippy::cast_precision_loss, reason = "milli-cpus of one machine are far below 2^52")]
    fn asked(self, amount: u64) -> String {
        match self {
            Self::Cpu => (amount as f64 / 1000.0).to_string(),
            Self::Mem | Self::Disk | Self::Gpus => amount.to_string(),
        }
    }

    /// An amount of this kind, as it is offered.
    fn had(self, amount: u64) -> String {
        match self {
            Self::Cpu | Self::Gpus => self.asked(amount),
            Self::Mem | Self::Disk => format!("{amount} MB"),
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

/// What offers had, to tell why something fitted none.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    all: Vec<Resources>,
    /// The most of each kind.
    largest: Resources,
}

impl Sizes {
    /// Of these offers.
    pub fn of(offers: impl Iterator<Item = Resources>) -> Self {
        let all: Vec<Resources> = offers.collect();
        let largest = all.iter().fold(Resources::default(), |largest, offer| largest.larger(offer));
        Self { all, largest }
    }

    /// There was none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Why `wants` fits none; [`Reason::Outrun`] when it does fit one.
    pub fn reason(&self, wants: &Resources) -> Reason {
        let offers = self.all.len();
        if offers == 0 {
            return Reason::NoOffers;
        }
        for kind in Kind::ALL {
            let (wants, largest) = (kind.of(wants), kind.of(&self.largest));
            if wants > largest {
                return Reason::TooMuch { kind, wants, largest, offers };
            }
        }
        if self.all.iter().any(|offer| offer.hold(wants)) {
            Reason::Outrun
        } else {
            Reason::NotTogether { offers }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoOffers => f.write_str("the cluster offers nothing now"),
            Self::TooMuch { kind, wants, largest, offers } => {
                let (wants, largest) = (kind.asked(wants), kind.had(largest));
                match offers {
                    1 => write!(f, "{kind} {wants}: the one offer in the last 60 s had {largest}"),
                    _ => write!(
                        f,
                        "{kind} {wants}: the largest of {offers} offers in the last 60 s had {largest}"
                    ),
                }
            }
            Self::NotTogether { offers } => {
                write!(f, "none of {offers} offers in the last 60 s had all that is asked for at once")
            }
            Self::Outrun => f.write_str("it would fit: others came first"),
        }
    }
}
