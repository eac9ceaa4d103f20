//! `borges submit`: sends a document to a server, and follows its run if requested.

use bytes::Bytes;

use super::api_client::ApiClient;
use super::api_response::{self, ApiError};
use super::args::{Format, SubmitArgs};
use super::backend::Backend;
use super::event_source::follow;
use super::exit::Exit;
use super::rewrite::rewrite;
use super::signals::Signals;
use super::watch::Watch;
use super::{diagnostics, includes, input, progress};
use borges_api::SubmitResponse;
use borges_clock::Clock;
use borges_org::{self as org, Position, SourceLocation, SourceMap};
use borges_plan::Severity;
use borges_task::RunId;

/// Sends a document. With `--follow` or `--write`, waits for the end of its run.
pub(super) fn submit(arguments: &SubmitArgs) -> Exit {
    let name = input::display_name(&arguments.path);
    let source = match input::contents(&arguments.path) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let document = Bytes::from(source);
    // The server cannot read the includes of the document, so they are inserted here.
    let (source, source_map) = match includes::resolve_includes(&name, &arguments.path, &document) {
        Ok((source, source_map)) => (includes::with_includes_commented(&Bytes::from(source)), source_map),
        Err(exit) => return exit,
    };
    let address = server_address(&document);
    let argument = arguments.server.url.as_deref();
    actix::System::new().block_on(async {
        let server = match ApiClient::from_args(argument, address.as_deref()) {
            Ok(server) => server,
            Err(exit) => return exit,
        };
        let response = server.submit(source.clone(), &arguments.names, arguments.resume).await;
        let (run, submitted, text) = match response {
            Ok(response) => response,
            Err(error) => return print_rejection(&error, &name, &source, &source_map),
        };
        if arguments.format == Format::Json {
            println!("{}", String::from_utf8_lossy(&text));
            return Exit::Success;
        }
        for warning in &submitted.warnings {
            eprintln!("{}", relocated(warning, &name, &source_map));
        }
        announce(&submitted, &source_map);
        if !arguments.follow && !arguments.write {
            println!("{run}");
            return Exit::Success;
        }
        eprintln!("run {run} at {}", server.url());
        let exit = watch(server.clone(), run).await;
        if !arguments.write || !matches!(exit, Exit::Success | Exit::BlockFailed) {
            return exit;
        }
        let with_results = async |current: Bytes| {
            let response = server.document_with_results(run, current).await;
            response.map_err(|error| error.print())
        };
        match rewrite(&arguments.path, with_results).await {
            Err(failure) if exit == Exit::Success => failure,
            _ => exit,
        }
    })
}

async fn watch(server: ApiClient, run: RunId) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("borges: {error}");
            return Exit::InvalidInput;
        }
    };
    let (events, fatal_errors) = follow(&server, run);
    let watch = Watch::new(Backend::Remote(server), run, false, None, Clock::system());
    watch.run(events, fatal_errors, &mut signals).await.unwrap_or_else(|error| {
        eprintln!("borges: {error}\nThe run may go on without us: `borges tasks --run {run}` tells.");
        Exit::Unavailable
    })
}

/// The value of the last `#+borgesaddress:` of the document; `None` if it is empty.
fn server_address(source: &[u8]) -> Option<String> {
    memchr::memmem::find(&source.to_ascii_lowercase(), b"borgesaddress")?;
    let keywords = org::parse(source, &[]).keywords;
    let keyword = keywords.into_iter().rfind(|keyword| keyword.key == "BORGESADDRESS")?;
    Some(keyword.value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn announce(SubmitResponse { scheduled, blocks, .. }: &SubmitResponse, source_map: &SourceMap) {
    let skipped = blocks.iter().filter(|block| block.task.is_none());
    let skipped: Vec<_> = skipped
        .map(|block| {
            (
                format!("line {}", source_map.line(block.line)),
                block.block.as_str(),
                block.reason.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    progress::announce(*scheduled, &skipped);
}

/// Prints why the server rejected a document. Errors of the document are printed as `borges run` prints them.
fn print_rejection(error: &ApiError, name: &str, source: &[u8], source_map: &SourceMap) -> Exit {
    let ApiError::Rejected(problem) = error else { return error.print() };
    let mut errors = api_response::diagnostics(problem);
    if errors.is_empty() {
        return error.print();
    }
    for diagnostic in errors.iter_mut().filter(|diagnostic| diagnostic.file.is_none()) {
        diagnostic.locate(source_map);
    }
    diagnostics::show(name, source, &errors, Severity::Error);
    if let Some(unlisted) = api_response::unlisted_errors(problem) {
        eprintln!("{unlisted}");
    }
    eprintln!("Nothing was launched.");
    Exit::InvalidInput
}

/// A warning of the server (`LINE:COLUMN: warning: …`) with the file and line in which it is before includes are
/// inserted.
fn relocated(warning: &str, name: &str, source_map: &SourceMap) -> String {
    let mut parts = warning.splitn(3, ':');
    let mut number = || parts.next()?.parse().ok();
    let (Some(line), Some(column)) = (number(), number()) else { return format!("{name}: {warning}") };
    let SourceLocation { file, at } = source_map.locate(Position { line, column });
    let file = file.as_deref().unwrap_or(name);
    format!("{file}:{}:{}:{}", at.line, at.column, parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_address_is_the_last_keyword() {
        let address = |text: &str| server_address(text.as_bytes());
        assert_eq!(address("text\n#+BorgesAddress: 10.0.0.1:8888 \n").as_deref(), Some("10.0.0.1:8888"));
        assert_eq!(address("#+borgesaddress: a\n#+borgesaddress: b\n").as_deref(), Some("b"));
        assert_eq!(address("#+borgesaddress:\n"), None);
        assert_eq!(address("#+begin_example\n,#+borgesaddress: a\n#+end_example\n"), None);
        assert_eq!(address("nothing"), None);
    }
}
