//! The responses of the HTTP API as data: the server writes them and the client reads them.
//!
//! A field is added here once, and both sides have it. The names of the types are the names of the schemas in
//! `/openapi.json`.
//!
//! | file | |
//! |---|---|
//! | `runs` | runs and submitted documents |
//! | `tasks` | tasks |
//! | `files` | files in sandboxes and results |
//! | `problem` | errors, as RFC 9457 has them |

mod files;
mod problem;
mod runs;
mod tasks;

pub use files::{FileInfo, Listing, ResultFileInfo, ResultPage, TaskResult};
pub use problem::{DocumentError, Problem};
pub use runs::{
    BlockSummary, RunDetails, RunKillResponse, RunPage, RunSummary, SubmitResponse, WaitingTasks,
};
pub use tasks::{TaskKillResponse, TaskPage, TaskSummary};
