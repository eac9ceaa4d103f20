//! `borges kill`: ends a task, or a run, at a server.

use super::api_client::ApiClient;
use super::args::{KillArguments, KillTarget};
use super::exit::Exit;

/// Asks for the end; that it has come, `borges tasks` tells.
pub(super) fn kill(arguments: &KillArguments) -> Exit {
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
                let what = task.map_or_else(|| run.to_string(), |task| task.to_string());
                eprintln!("{what} is being ended");
                Exit::Success
            }
            Err(failure) => failure.say(),
        }
    })
}
