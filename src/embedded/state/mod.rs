//! The embedded cluster as a state machine: calls, exits and time go in, actions come out (pure).
//!
//! No sockets, no processes, no files, no clock. It behaves towards a scheduler as a Mesos master with one agent does.
//! One difference: it does not kill the tasks of a disconnected framework after `failover_timeout`, because blocks are
//! to outlive the server.
//!
//! | file | |
//! |---|---|
//! | `action` | the actions, and how events become one |
//! | `agent` | the state; clients and offers |
//! | `timers` | executes due timers |
//! | `launches` | reports on launches, and their stop |
//! | `updates` | status updates to a scheduler |
//! | `calls` | executes calls |
//! | `offers` | free, offered and filtered resources |
//! | `task` | one task and its stream of status updates |

mod action;
mod agent;
mod calls;
mod launches;
mod offers;
mod task;
mod timers;
mod updates;

pub(crate) use self::action::Action;
pub(crate) use self::agent::{Agent, Identity};

#[cfg(test)]
mod scenario;
#[cfg(test)]
mod tests;
