//! Why a body cannot be expanded.

use std::fmt;

use super::document::Position;

/// Why a body cannot be expanded, and where the reference stands that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reference, or the line it stands on.
    pub at: Position,
    /// What is wrong with it.
    pub kind: TroubleKind,
}

/// Why a body cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TroubleKind {
    /// Blocks refer to each other in a circle: the lines they begin on, in the order of the references.
    Circle(Vec<u32>),
    /// More references in each other than anyone writes.
    Deep,
    /// More text than can be held.
    Large,
    /// The header arguments of the block referred to cannot be read.
    Unreadable(String),
}

/// How many references may stand in each other.
pub(super) const DEEPEST: usize = 200;

/// What is wrong, for a person.
impl fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Circle(lines) => {
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                let last = lines.first().cloned().unwrap_or_default();
                write!(f, "the blocks at lines {} → {last} refer to each other", lines.join(" → "))
            }
            Self::Deep => write!(f, "more than {DEEPEST} references stand in each other"),
            Self::Large => f.write_str("the references of this document expand to more than can be held"),
            Self::Unreadable(why) => write!(f, "the header arguments of the block cannot be read: {why}"),
        }
    }
}
