//! The wire between a scheduler and a cluster: messages, records, calls, events.
//!
//! A cluster is a [`Master`], which takes calls and yields events, and a [`Sandbox`], from which output is
//! read. This room knows how both are spelt; it must not know what a block is, or why a call is made.
//!
//! | file | |
//! |---|---|
//! | `recordio` | messages in a stream: length, newline, bytes |
//! | `events` | a generated event → one Rust enum, checked once |
//! | `calls` | one function a call |
//! | `status` | a status update → what it means for a launch |
//! | `signals` | signals by the names Mesos gives them |
//! | `payload` | the files that lie in a sandbox before its block starts |
//! | `offers` | what an offer says of its agent |
//! | `task_info` | a task's spec → the message that launches it |
//! | `resources` | offered resources → whole numbers, and back without losing a field |
//! | `master` | the two walls: [`Master`] and [`Sandbox`] |
//! | `http` | a real Mesos as a [`Master`] |
//! | `address`, `detect` | where masters are, and which of them to call |
//! | `http_client` | one request, with the settings it needs |
//! | `outbox` | the calls of one subscription |
//! | `responses` | what an answer means, and what the end of a subscription does |
//! | `credential` | the name and secret we are known by |
//! | `wrapper` | a task → the shell script that the command executor runs |
//! | `agent_registry` | where agents are |
//! | `output_archive` | what is kept of blocks that have ended |
//! | `agent_sandbox` | a real Mesos' sandboxes as a [`Sandbox`], and the copies that outlive them |

pub mod address;
mod agent_registry;
pub mod agent_sandbox;
pub mod calls;
pub mod credential;
pub mod events;
pub mod http;
mod http_client;
pub mod master;
mod master_detector;
pub use borges_proto as messages;
pub mod offers;
mod outbox;
mod output_archive;
pub mod payload;
pub mod recordio;
pub mod resources;
pub mod responses;
pub mod signals;
pub mod status;
pub mod task_info;
pub mod wrapper;

pub use events::{Event, StatusUpdate};
pub use master::{
    Chunk, FileKind, Master, MasterError, Sandbox, SandboxError, SandboxFile, SandboxLocation, Subscription,
};
pub use messages::scheduler::Call;
