//! `borges logs`: what a task has written.

use std::io::{self, Write};
use std::time::Duration;

use super::api_client::{ApiClient, ApiError, MAX_CHUNK};
use super::args::LogsArguments;
use super::backend::with_retries;
use super::exit::Exit;
use super::signals::Signals;
use borges_engine::FileRead;
use borges_task::{LaunchId, State};

/// Behind the end of any file.
const END: u64 = i64::MAX.unsigned_abs();
/// How often a task that waits is looked at.
const LISTEN: Duration = Duration::from_millis(300);

/// Passes on what a task has written; with `--follow`, what it writes until it ends.
pub(super) fn logs(arguments: &LogsArguments) -> Exit {
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
            read = read(&server, arguments) => read.unwrap_or_else(|failure| failure.say()),
            () = signals.next() => Exit::Interrupted,
        }
    })
}

async fn read(server: &ApiClient, arguments: &LogsArguments) -> Result<Exit, ApiError> {
    let stream = if arguments.stderr { "stderr" } else { "stdout" };
    let task = server.task(arguments.task).await?;
    if !arguments.follow {
        pass_on(server, arguments.task.launch(task.attempt), stream, 0).await?;
        return Ok(Exit::Success);
    }
    let mut attempt = task.attempt;
    let mut offset = 0;
    loop {
        let launch = arguments.task.launch(attempt);
        if attempt > 0 {
            let begin = offset;
            let each = |from, bytes: &[u8]| offset = say(offset, from, bytes);
            let followed = server.follow_output(launch, stream, begin, each).await;
            match followed {
                // A server that goes away cannot be told from one that is done: the task is asked below.
                Ok(()) | Err(ApiError::Unreachable(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        let task = with_retries(|| server.task(arguments.task)).await?;
        let over = task.state.is_terminal() || task.state == State::Delayed || task.attempt > attempt;
        if over && attempt > 0 {
            pass_on(server, launch, stream, offset).await?;
        }
        match (task.attempt > attempt, task.state) {
            (true, _) => (attempt, offset) = (attempt + 1, 0),
            (false, State::Finished | State::Skipped) => return Ok(Exit::Success),
            (false, State::Failed | State::Killed) => return Ok(Exit::BlockFailed),
            (false, _) if over => {
                // Its launch has ended, and another one comes: nothing more of the one that is read.
                offset = END;
                tokio::time::sleep(LISTEN).await;
            }
            (false, _) => tokio::time::sleep(LISTEN).await,
        }
    }
}

/// Passes on what a launch has written from `offset` on.
async fn pass_on(
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
            FileRead::Bytes { from, bytes, .. } if !bytes.is_empty() => offset = say(offset, from, &bytes),
            _ => return Ok(()),
        }
    }
}

/// Says bytes as they are, and where some before them are missing; the place behind them.
fn say(wanted: u64, from: u64, bytes: &[u8]) -> u64 {
    if from > wanted {
        eprintln!("borges: {} bytes are not kept any more", from - wanted);
    }
    let mut stdout = io::stdout().lock();
    // Whoever read us may have heard enough.
    let _reader_gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
    from + bytes.len() as u64
}
