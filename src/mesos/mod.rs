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
//! | `signals` | signals by the names Mesos gives them |
//! | `parcel` | the files that lie in a sandbox before its block starts |
//! | `offers` | what an offer says of its agent |
//! | `tasks` | a task's spec → the message that launches it |
//! | `resources` | offered resources → whole numbers, and back without losing a field |
//! | `master` | the two walls: [`Master`] and [`Sandbox`] |
//! | `http` | a real Mesos as a [`Master`] |
//! | `address`, `detect` | where masters are, and which of them to call |
//! | `link` | one request, with the settings it needs |
//! | `outbox` | the calls of one subscription |
//! | `answers` | what an answer means, and what the end of a subscription does |
//! | `credential` | the name and secret we are known by |
//! | `wrapper` | a task → the shell script that the command executor runs |
//! | `agents` | where agents are |
//! | `copies` | what is kept of blocks that have ended |
//! | `output` | a real Mesos' sandboxes as a [`Sandbox`], and the copies that outlive them |

pub mod address;
mod agents;
pub mod answers;
pub mod calls;
pub mod conditions;
mod copies;
pub mod credential;
mod detect;
pub mod events;
pub mod http;
mod link;
pub mod master;
pub mod messages;
pub mod offers;
mod outbox;
pub mod output;
pub mod parcel;
pub mod recordio;
pub mod resources;
pub mod signals;
pub mod tasks;
pub mod wrapper;

pub use events::{Event, StatusUpdate};
pub use master::{
    Chunk, FileKind, Master, MasterError, Place, Sandbox, SandboxError, SandboxFile, Subscription,
};
pub use messages::scheduler::Call;
