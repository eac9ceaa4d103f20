//! The wire between a scheduler and a cluster: messages, records, calls, events.
//!
//! A cluster is a [`Master`], which takes calls and yields events, and a [`Sandbox`], from which output is
//! read. This room knows how both are spelt; it must not know what a block is, or why a call is made.
//!
//! | file | |
//! |---|---|
//! | `messages` | what `proto/` generates, nothing else |
//! | `recordio` | messages in a stream: length, newline, bytes |
//! | `events` | a generated event → one Rust enum, checked once |
//! | `calls` | one function a call |
//! | `conditions` | a status update → what it means for a launch |
//! | `parcel` | the files that lie in a sandbox before its block starts |
//! | `tasks` | a task's spec → the message that launches it |
//! | `resources` | offered resources → whole numbers, and back without losing a field |
//! | `master` | the two walls: [`Master`] and [`Sandbox`] |

pub mod calls;
pub mod conditions;
pub mod events;
pub mod master;
pub mod messages;
pub mod parcel;
pub mod recordio;
pub mod resources;
pub mod tasks;

pub use events::{Event, StatusUpdate};
pub use master::{
    Chunk, FileKind, Master, MasterError, Place, Sandbox, SandboxError, SandboxFile, Subscription,
};
pub use messages::scheduler::Call;
