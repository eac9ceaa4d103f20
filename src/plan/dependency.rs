//! A dependency between two units of a document, with its position.

use borges_org::Position;
use borges_task::DependencyKind;

/// A block waits for another; both by their place among the document's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The one that is waited for.
    pub(super) from: usize,
    /// The one that waits.
    pub(super) to: usize,
    pub(super) requirement: DependencyKind,
    /// Where the document says so.
    pub(super) at: Position,
}
