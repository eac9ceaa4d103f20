//! The Mesos v1 protocol between a scheduler and a cluster: messages, records, calls, events.
//!
//! A cluster is a [`Master`], which accepts calls and sends events, and a [`Sandbox`], from which output is read. This
//! crate knows the wire format of both. It does not know what a block is, or why a call is made.
//!
//! | file | contents |
//! |---|---|
//! | `recordio` | framing of messages in a stream: length, newline, bytes |
//! | `events` | a generated event message → one Rust enum, checked |
//! | `calls` | one constructor for each call |
//! | `status` | a status update → the condition of a launch |
//! | `signals` | Mesos' names of signals |
//! | `payload` | the files that are put into a sandbox before its block starts |
//! | `offers` | the agent, role and maintenance window of an offer |
//! | `task_info` | a task's spec → the message that launches it |
//! | `resources` | offered resources → integers, and back without losing a field |
//! | `master` | the traits [`Master`] and [`Sandbox`] |
//! | `http` | a Mesos cluster as a [`Master`] |
//! | `protocol` | path, header and errors of the scheduler API |
//! | `address`, `master_detector` | the addresses of masters, and which of them to call |
//! | `http_client` | HTTP requests with the required timeouts |
//! | `outbox` | the queue of calls of one subscription |
//! | `responses` | the meaning of a response, and of the error that ends a subscription |
//! | `credential` | principal and secret |
//! | `wrapper` | a task → the shell script that the command executor runs |
//! | `agent_registry` | the addresses of agents |
//! | `output_archive` | copies of the output of ended launches |
//! | `agent_sandbox` | the sandboxes of a Mesos cluster as a [`Sandbox`] |

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
mod protocol;
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
