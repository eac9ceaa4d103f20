//! The blocks' processes: started, signalled, adopted from earlier agents, and reaped.
//!
//! | file | |
//! |---|---|
//! | `registry` | the running blocks; signals to them |
//! | `start` | starts a launch |
//! | `spawn` | fills a sandbox, builds a command, and spawns it |
//! | `start_error` | the errors of a start, with their messages |
//! | `exits` | exits of blocks, and exceeded limits |
//! | `orphans` | finds the blocks that earlier agents left running |
//! | `adopt` | adopts them |
//! | `launch_history` | reads the state of a launch from its files |

mod adopt;
mod exits;
mod launch_history;
mod orphans;
mod registry;
mod spawn;
mod start;
mod start_error;

pub(crate) use self::exits::{ExitKind, LaunchExit};
pub(crate) use self::launch_history::record_never_started;
pub(crate) use self::registry::Processes;
