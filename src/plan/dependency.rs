//! A dependency between two units of a document, with its position.

use borges_org::Position;
use borges_task::DependencyKind;

/// A unit depends on another. Both are indices into the units of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The unit that is depended on.
    pub(super) from: usize,
    /// The unit that depends on `from`.
    pub(super) to: usize,
    pub(super) requirement: DependencyKind,
    /// The position in the document that creates the dependency.
    pub(super) at: Position,
}
