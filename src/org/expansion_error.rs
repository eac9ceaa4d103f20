//! The error of a body whose noweb references cannot be expanded.

use std::fmt;

use super::document::Position;

/// Why a body cannot be expanded, and where the reference stands that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpansionError {
    /// The reference, or the line it stands on.
    pub at: Position,
    /// What is wrong with it.
    pub kind: ExpansionErrorKind,
}

/// Why a body cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpansionErrorKind {
    /// Blocks refer to each other in a circle: the lines they begin on, in the order of the references.
    Cycle(Vec<u32>),
    /// More references in each other than anyone writes.
    TooDeep,
    /// More text than can be held.
    TooLarge,
    /// The header arguments of the block referred to cannot be read.
    Unreadable(String),
}

/// How many references may stand in each other.
pub(super) const MAX_DEPTH: usize = 200;

/// What is wrong, for a person.
impl fmt::Display for ExpansionErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle(lines) => {
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                let last = lines.first().cloned().unwrap_or_default();
                write!(f, "the blocks at lines {} → {last} refer to each other", lines.join(" → "))
            }
            Self::TooDeep => write!(f, "more than {MAX_DEPTH} references stand in each other"),
            Self::TooLarge => f.write_str("the references of this document expand to more than can be held"),
            Self::Unreadable(why) => write!(f, "the header arguments of the block cannot be read: {why}"),
        }
    }
}
