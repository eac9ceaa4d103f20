//! `borges logs`: prints the output of a task's last launch, and follows it with `--follow`.

use std::io::{self, Write};
use std::time::Duration;

use super::api_client::{ApiClient, MAX_CHUNK};
use super::api_response::ApiError;
use super::args::LogsArgs;
use super::backend::with_retries;
use super::exit::Exit;
use super::signals::Signals;
use borges_engine::FileRead;
use borges_task::{LaunchId, State};

/// An offset beyond the end of any file.
const BEYOND_END: u64 = i64::MAX.unsigned_abs();
/// How often the state of a waiting task is read.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Prints the output of a task; with `--follow`, until the task ends.
pub(super) fn logs(arguments: &LogsArgs) -> Exit {
    actix::System::new().block_on(async {
        let server = match ApiClient::from_args(arguments.server.url.as_deref(), None) {
            Ok(server) => server,
            Err(exit) => return exit,
        };
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("borges: {error}");
                return Exit::InvalidInput;
            }
        };
        tokio::select! {
            result = print_logs(&server, arguments) => result.unwrap_or_else(|error| error.print()),
            () = signals.next() => Exit::Interrupted,
        }
    })
}

async fn print_logs(server: &ApiClient, arguments: &LogsArgs) -> Result<Exit, ApiError> {
    let stream = if arguments.stderr { "stderr" } else { "stdout" };
    let task = server.task(arguments.task).await?;
    if !arguments.follow {
        print_output(server, arguments.task.launch(task.attempt), stream, 0).await?;
        return Ok(Exit::Success);
    }
    let mut attempt = task.attempt;
    let mut offset = 0;
    loop {
        let launch = arguments.task.launch(attempt);
        if attempt > 0 {
            let start = offset;
            let print = |from, bytes: &[u8]| offset = print_chunk(offset, from, bytes);
            let followed = server.follow_output(launch, stream, start, print).await;
            match followed {
                // A lost connection looks like the end of the output, so the state of the task is read below.
                Ok(()) | Err(ApiError::Unreachable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let task = with_retries(|| server.task(arguments.task)).await?;
        let ended = task.state.is_terminal() || task.state == State::Delayed || task.attempt > attempt;
        if ended && attempt > 0 {
            print_output(server, launch, stream, offset).await?;
        }
        match (task.attempt > attempt, task.state) {
            (true, _) => (attempt, offset) = (attempt + 1, 0),
            (false, State::Finished | State::Skipped) => return Ok(Exit::Success),
            (false, State::Failed | State::Killed) => return Ok(Exit::BlockFailed),
            (false, _) if ended => {
                // The launch has ended and another one will follow: print no more of this one.
                offset = BEYOND_END;
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            (false, _) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Prints the output of a launch from `offset` on.
async fn print_output(
    server: &ApiClient,
    launch: LaunchId,
    stream: &str,
    mut offset: u64,
) -> Result<(), ApiError> {
    if launch.attempt == 0 {
        return Ok(());
    }
    loop {
        match with_retries(|| server.output(launch, stream, offset, MAX_CHUNK)).await? {
            FileRead::Bytes { from, bytes, .. } if !bytes.is_empty() => {
                offset = print_chunk(offset, from, &bytes);
            }
            _ => return Ok(()),
        }
    }
}

/// Prints a chunk of output, and reports the bytes missing between `expected` and `from`. Returns the offset after it.
fn print_chunk(expected: u64, from: u64, bytes: &[u8]) -> u64 {
    if from > expected {
        eprintln!("borges: {} bytes are not kept any more", from - expected);
    }
    let mut stdout = io::stdout().lock();
    // The reader of the pipe may have closed it.
    let _closed_pipe = stdout.write_all(bytes).and_then(|()| stdout.flush());
    from + bytes.len() as u64
}
