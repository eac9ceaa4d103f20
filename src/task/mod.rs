//! What a task is, and how it changes.
//!
//! A *task* is one instance of a block in one run; a *launch* is one try of it. This room is pure: it
//! knows no cluster, no document, no clock. Policy is [`step`], a total function; the shells carry out
//! the effects it names.
//!
//! | file | |
//! |---|---|
//! | `amount` | cpus and memory as people write them |
//! | `demand` | what a task asks of the agent it runs on: amounts, ports, constraints |
//! | `ids` | the names of runs, tasks and launches |
//! | `seal` | signatures of launches' files |
//! | `spec` | what a task asks for |
//! | `policy` | what is done when a launch ends |
//! | `state` | where a task stands; what a cluster says of a launch |
//! | `step` | state × input → state, effects |
//! | `reminders` | what is said to a cluster until it is answered |

pub mod amount;
mod demand;
mod ids;
mod policy;
mod reminders;
mod seal;
mod spec;
mod state;
mod step;

pub use demand::{Constraint, Demand, Field, Operator, Port, Wishes};
pub use ids::{BadId, LaunchId, RunId, TaskId, place};
pub use policy::{Backoff, Ensure, OnPartition, Pause, Policy, Tries};
pub use reminders::{Reminders, Round, Rounds};
pub use seal::Seal;
pub use spec::{Command, Edge, File, Requirement, Resources, TaskSpec};
pub use state::{Condition, History, RunState, State};
pub use step::{Effect, Input, Step, step};
