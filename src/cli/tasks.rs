//! `borges tasks`: prints the tasks of a server, a table for each run.

use std::env;
use std::io::{self, IsTerminal, Write};

use super::api_client::ApiClient;
use super::api_response::ApiError;
use super::args::{Format, TasksArgs};
use super::exit::Exit;
use borges_api::TaskSummary;
use borges_task::{RunId, State};

/// Prints the tasks of all runs, or of one.
pub(super) fn tasks(arguments: &TasksArgs) -> Exit {
    actix::System::new().block_on(async {
        let server = match ApiClient::from_args(arguments.server.url.as_deref(), None) {
            Ok(server) => server,
            Err(exit) => return exit,
        };
        match render(&server, arguments).await {
            Ok(text) => {
                let _closed_pipe = io::stdout().lock().write_all(text.as_bytes());
                Exit::Success
            }
            Err(error) => error.print(),
        }
    })
}

async fn render(server: &ApiClient, arguments: &TasksArgs) -> Result<String, ApiError> {
    let tasks = server.tasks(arguments.run).await?;
    Ok(match arguments.format {
        Format::Json => format!("{}\n", serde_json::to_string(&tasks).unwrap_or_default()),
        Format::Text if arguments.why => reasons(&tasks),
        Format::Text => table(&tasks, terminal_width()),
    })
}

/// The width of the terminal in columns; `None` if stdout is not a terminal.
fn terminal_width() -> Option<usize> {
    let variable = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let stdout = io::stdout();
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
        stdout.is_terminal().then_some(usize::from(size.ws_col))
    };
    variable.or_else(terminal).filter(|columns| *columns > 0)
}

/// The headers of the columns. The id of a task is `RUN.N`, where `.N` is in the first column.
const HEADERS: [&str; 7] = ["TASK", "BLOCK", "LINE", "STATE", "TRIES", "EXIT", "REASON"];
/// The maximum width of a block name, in characters.
const MAX_BLOCK_WIDTH: usize = 24;

/// One table for each run, as wide as needed, at most `width` characters.
fn table(tasks: &[TaskSummary], width: Option<usize>) -> String {
    let mut text = String::new();
    for run in tasks.chunk_by(|a, b| a.run == b.run) {
        let gap = if text.is_empty() { "" } else { "\n" };
        text += gap;
        text += &run_table(run[0].run, run, width);
    }
    text
}

/// Each task with a reason for not running, one a line, with the full reason.
fn reasons(tasks: &[TaskSummary]) -> String {
    let lines = tasks.iter().filter_map(|task| {
        let TaskSummary { task: id, block, state, seconds, .. } = task;
        Some(format!("{id}  {block}: {state} for {seconds} s: {}\n", task.reason.as_ref()?))
    });
    let text: String = lines.collect();
    if text.is_empty() { "Nothing waits.\n".to_owned() } else { text }
}

fn run_table(run: RunId, tasks: &[TaskSummary], width: Option<usize>) -> String {
    let cell = |text: &str| text.to_owned();
    let rows: Vec<[String; 7]> = tasks
        .iter()
        .map(|task| {
            let number = task.task.rsplit('.').next().unwrap_or_default();
            let exit = task.exit_code.map(|code| code.to_string()).unwrap_or_default();
            // The cluster's message for a successful launch carries no information.
            let message =
                task.message.as_deref().filter(|_| task.state != State::Finished || task.attempt == 0);
            let reason = task.reason.as_deref().or(message).unwrap_or_default();
            [
                format!(".{number}"),
                truncate(&task.block, Some(MAX_BLOCK_WIDTH)),
                task.line.to_string(),
                task.state.to_string(),
                task.attempt.to_string(),
                exit,
                cell(reason),
            ]
        })
        .collect();
    let headers = HEADERS.map(str::to_owned);
    let widths: Vec<usize> = (0..HEADERS.len() - 1)
        .map(|n| rows.iter().chain([&headers]).map(|row| row[n].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = format!("run {run}\n");
    for row in [&headers].into_iter().chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:width$}  ");
        }
        let remaining = width.map(|width| width.saturating_sub(line.chars().count()));
        line += &truncate(&row[HEADERS.len() - 1], remaining);
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// Shortens a text to `width` characters; `…` marks a shortened one.
fn truncate(text: &str, width: Option<usize>) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match width {
        Some(width) if text.chars().count() > width => {
            text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn task(run: u128, number: u32, block: &str, state: State, reason: Option<&str>) -> TaskSummary {
        let run = RunId(Uuid::from_u128(run));
        TaskSummary {
            task: run.task(number).to_string(),
            run,
            block: block.to_owned(),
            line: 3,
            index: 1,
            state,
            attempt: 1,
            agent: None,
            exit_code: (state == State::Failed).then_some(3),
            message: None,
            reason: reason.map(str::to_owned),
            seconds: 73,
        }
    }

    #[test]
    fn tables_fit_the_width() {
        let tasks = [
            task(1, 1, "fetch", State::Failed, None),
            task(
                1,
                12,
                "a-name-that-is-longer-than-it-should-be",
                State::Queued,
                Some("wants 3 cpus\nand more than that"),
            ),
            task(2, 1, "ä", State::Running, None),
        ];
        let text = table(&tasks, Some(74));
        assert!(text.lines().all(|line| line.chars().count() <= 74), "{text}");
        insta::assert_snapshot!(text, @r"
        run 00000000-0000-0000-0000-000000000001
        TASK  BLOCK                     LINE  STATE   TRIES  EXIT  REASON
        .1    fetch                     3     failed  1      3
        .12   a-name-that-is-longer-t…  3     queued  1            wants 3 cpus a…

        run 00000000-0000-0000-0000-000000000002
        TASK  BLOCK  LINE  STATE    TRIES  EXIT  REASON
        .1    ä      3     running  1
        ");
        assert!(table(&tasks, None).contains("and more than that"));
        insta::assert_snapshot!(reasons(&tasks), @r"
        00000000-0000-0000-0000-000000000001.12  a-name-that-is-longer-than-it-should-be: queued for 73 s: wants 3 cpus
        and more than that
        ");
        assert_eq!(reasons(&tasks[..1]), "Nothing waits.\n");
        assert_eq!(table(&[], None), "");
    }
}
