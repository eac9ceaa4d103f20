//! What a task is, and how it changes.
//!
//! A *task* is one instance of a block in one run; a *launch* is one try of it. This room is pure: it
//! knows no cluster, no document, no clock. Policy is [`step()`], a total function; the shells carry out
//! the effects it names.
//!
//! | file | |
//! |---|---|
//! | `amount` | cpus and memory as people write them |
//! | `resource_request` | what a task asks of the agent it runs on: amounts, ports, constraints |
//! | `ids` | the names of runs, tasks and launches |
//! | `url_signer` | signatures of launches' files |
//! | `spec` | what a task asks for |
//! | `policy` | what is done when a launch ends |
//! | `state` | where a task stands; what a cluster says of a launch |
//! | `state_machine` | state × input → state, effects |
//! | `unanswered` | what is said to a cluster until it is answered |

pub mod amount;
mod ids;
mod policy;
mod resource_request;
mod spec;
mod state;
mod state_machine;
mod unanswered;
mod url_signer;

pub use ids::{LaunchId, ParseIdError, RunId, TaskId, index_of};
pub use policy::{Backoff, BackoffTimer, Ensure, OnPartition, Policy, RetryLimit};
pub use resource_request::{Constraint, Field, Operator, Port, Requirements, ResourceRequest};
pub use spec::{Command, DependencyKind, Edge, InputFile, Resources, TaskSpec};
pub use state::{Condition, History, RunState, State};
pub use state_machine::{Effect, Input, Step, step};
pub use unanswered::{ReconcileSchedule, Reconciliation, Unanswered};
pub use url_signer::UrlSigner;
