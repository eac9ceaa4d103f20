//! `borges submit`: a document, at a server.

use bytes::Bytes;

use super::api_client::{self, ApiClient, ApiError};
use super::args::{Format, SubmitArguments};
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

/// Sends a document, and watches its run if that is asked for.
pub(super) fn submit(arguments: &SubmitArguments) -> Exit {
    let name = input::shown(&arguments.path);
    let source = match input::contents(&arguments.path) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let written = Bytes::from(source);
    // The server has none of the files that the document names: they go with it.
    let (source, places) = match includes::resolve_includes(&name, &arguments.path, &written) {
        Ok((source, places)) => (includes::with_includes_commented(&Bytes::from(source)), places),
        Err(exit) => return exit,
    };
    let address = address(&written);
    let server = arguments.server.url.as_deref();
    actix::System::new().block_on(async {
        let server = match ApiClient::from_args(server, address.as_deref()) {
            Ok(server) => server,
            Err(exit) => return exit,
        };
        let sent = server.submit(source.clone(), &arguments.names, arguments.resume).await;
        let (run, submitted, text) = match sent {
            Ok(sent) => sent,
            Err(failure) => return refused(&failure, &name, &source, &places),
        };
        if arguments.format == Format::Json {
            println!("{}", String::from_utf8_lossy(&text));
            return Exit::Success;
        }
        for warning in &submitted.warnings {
            eprintln!("{}", located(warning, &name, &places));
        }
        announce(&submitted, &places);
        if !arguments.follow && !arguments.write {
            println!("{run}");
            return Exit::Success;
        }
        eprintln!("run {run} at {}", server.url);
        let exit = watch(server.clone(), run).await;
        if !arguments.write || !matches!(exit, Exit::Success | Exit::BlockFailed) {
            return exit;
        }
        let returned = async |current: Bytes| {
            let sent = server.document_with_results(run, current).await;
            sent.map_err(|failure| failure.say())
        };
        match rewrite(&arguments.path, returned).await {
            Err(unwritten) if exit == Exit::Success => unwritten,
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
    let (entries, breaks) = follow(&server, run);
    let watch = Watch::new(Backend::Remote(server), run, false, None, Clock::system());
    watch.run(entries, breaks, &mut signals).await.unwrap_or_else(|lost| {
        eprintln!("borges: {lost}\nThe run may go on without us: `borges tasks --run {run}` tells.");
        Exit::Unavailable
    })
}

/// `#+borgesaddress:` of the document.
fn address(source: &[u8]) -> Option<String> {
    memchr::memmem::find(&source.to_ascii_lowercase(), b"borgesaddress")?;
    let keywords = org::parse(source, &[]).keywords;
    let named = keywords.into_iter().rfind(|keyword| keyword.key == "BORGESADDRESS")?;
    Some(named.value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn announce(SubmitResponse { scheduled, blocks, .. }: &SubmitResponse, places: &SourceMap) {
    let skipped = blocks.iter().filter(|block| block.task.is_none());
    let skipped: Vec<_> = skipped
        .map(|block| {
            (
                format!("line {}", places.line(block.line)),
                block.block.as_str(),
                block.reason.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    progress::announce(*scheduled, &skipped);
}

/// What is wrong with the document stands in the document, as `borges run` shows it.
fn refused(failure: &ApiError, name: &str, source: &[u8], places: &SourceMap) -> Exit {
    let ApiError::Rejected(refusal) = failure else { return failure.say() };
    let mut found = api_client::diagnostics(refusal);
    if found.is_empty() {
        return failure.say();
    }
    for problem in found.iter_mut().filter(|problem| problem.file.is_none()) {
        problem.locate(places);
    }
    diagnostics::show(name, source, &found, Severity::Error);
    if let Some(more) = api_client::unlisted_errors(refusal) {
        eprintln!("{more}");
    }
    eprintln!("Nothing was launched.");
    Exit::InvalidInput
}

/// A server's `LINE:COLUMN: warning: …`, by the file in which that line stands.
fn located(warning: &str, name: &str, places: &SourceMap) -> String {
    let mut parts = warning.splitn(3, ':');
    let mut number = || parts.next()?.parse().ok();
    let (Some(line), Some(column)) = (number(), number()) else { return format!("{name}: {warning}") };
    let SourceLocation { file, at } = places.locate(Position { line, column });
    let file = file.as_deref().unwrap_or(name);
    format!("{file}:{}:{}:{}", at.line, at.column, parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_may_name_its_server() {
        let named = |text: &str| address(text.as_bytes());
        assert_eq!(named("text\n#+BorgesAddress: 10.0.0.1:8888 \n").as_deref(), Some("10.0.0.1:8888"));
        assert_eq!(named("#+borgesaddress: a\n#+borgesaddress: b\n").as_deref(), Some("b"));
        assert_eq!(named("#+borgesaddress:\n"), None);
        assert_eq!(named("#+begin_example\n,#+borgesaddress: a\n#+end_example\n"), None);
        assert_eq!(named("nothing"), None);
    }
}
