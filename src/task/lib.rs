//! The model of a task, and the state machine that decides how a task changes.
//!
//! A *task* is one instance of a block in one run. A *launch* is one try of a task. This crate is pure: it knows no
//! cluster, no document and no clock. [`step()`] is a total function, and its callers carry out the effects that it
//! returns.
//!
//! | file | contents |
//! |---|---|
//! | `amount` | parsers for amounts of CPUs, memory and disk |
//! | `resources` | amounts of CPUs, memory, disk and GPUs |
//! | `resource_request` | what a task asks of an agent: amounts, ports, constraints |
//! | `ids` | the ids of runs, tasks and launches |
//! | `url_signer` | signatures for the download addresses of a launch's files |
//! | `spec` | one task as its document describes it; dependencies between tasks |
//! | `policy` | retries, backoff, timeout and partition policy of a task |
//! | `state` | states of tasks and runs; conditions of launches |
//! | `state_machine` | state × input → state and effects |
//! | `unanswered` | timers for calls that are resent until the cluster answers |

pub mod amount;
mod ids;
mod policy;
mod resource_request;
mod resources;
mod spec;
mod state;
mod state_machine;
mod unanswered;
mod url_signer;

pub use ids::{LaunchId, ParseIdError, RunId, TaskId, index_of};
pub use policy::{Backoff, BackoffTimer, Ensure, OnPartition, Policy, RetryLimit};
pub use resource_request::{Constraint, Field, Operator, Port, Requirements, ResourceRequest};
pub use resources::Resources;
pub use spec::{Command, DependencyKind, Edge, InputFile, TaskSpec};
pub use state::{Condition, History, RunState, State};
pub use state_machine::{Effect, Input, Step, step};
pub use unanswered::{ReconcileSchedule, Reconciliation, Unanswered};
pub use url_signer::UrlSigner;
