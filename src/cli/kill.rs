//! `borges kill`: kills a task or a run at a server.

use super::api_client::ApiClient;
use super::args::{KillArgs, KillTarget};
use super::exit::Exit;

/// Requests the kill, and does not wait for it: `borges tasks` shows when the task has ended.
pub(super) fn kill(arguments: &KillArgs) -> Exit {
    actix::System::new().block_on(async {
        let server = match ApiClient::from_args(arguments.server.url.as_deref(), None) {
            Ok(server) => server,
            Err(exit) => return exit,
        };
        let (run, task) = match arguments.target {
            KillTarget::Run(run) => (run, None),
            KillTarget::Task(task) => (task.run, Some(task)),
        };
        match server.kill(run, task).await {
            Ok(()) => {
                let target = task.map_or_else(|| run.to_string(), |task| task.to_string());
                eprintln!("{target} is being ended");
                Exit::Success
            }
            Err(error) => error.print(),
        }
    })
}
