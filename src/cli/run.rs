//! `borges run`: a document here and now.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use tempfile::TempDir;

use super::args::RunArguments;
use super::backend::Backend;
use super::cluster::{self, Cluster};
use super::diagnostics;
use super::exit::Exit;
use super::input::{self, Input};
use super::progress;
use super::rewrite::{check, rewrite};
use super::serve::state_directory;
use super::signals::Signals;
use super::watch::{Watch, WatchError};
use borges_clock::Clock;
use borges_config::MasterAddress;
use borges_engine::{Engine, EngineError, EngineParts, ParseDocument, ParserPool, StartError, Submission};
use borges_http as http;
use borges_mesos::wrapper::FetchUrls;
use borges_plan::{CacheMode, Plan, Severity};
use borges_store::{Cache, MemoryStore};
use borges_task::UrlSigner;

/// Runs a document.
pub(super) fn run(arguments: &RunArguments) -> Exit {
    if (arguments.write || arguments.check) && arguments.document.path == Path::new("-") {
        eprintln!("stdin: error: `--write` and `--check` want a document that lies in a file");
        return Exit::InvalidInput;
    }
    let mut input = match input::read(&arguments.document) {
        Ok(input) => input,
        Err(exit) => return exit,
    };
    // Who wants the results in the document wants what Emacs would make of it.
    input.request.emacs_compatible = arguments.write || arguments.check;
    input.request.variables.clone_from(&arguments.variables);
    actix::System::new().block_on(async {
        match read_and_run(arguments, input).await {
            Ok(exit) => exit,
            Err(error) => {
                eprintln!("borges: {error}");
                Exit::Unavailable
            }
        }
    })
}

/// What ends a run before its time.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Cluster(String),
    #[error(transparent)]
    Watch(#[from] WatchError),
}

async fn read_and_run(arguments: &RunArguments, input: Input) -> Result<Exit, Failure> {
    let document = ParseDocument {
        source: input.source.clone(),
        defaults: input.config.header_args.clone(),
        options: input.request.clone(),
    };
    let plan = match ParserPool::start().read(document).await?.plan {
        Ok(plan) => plan,
        Err(found) => {
            diagnostics::show(&input.name, &input.source, &found, Severity::Error);
            eprintln!("Nothing was launched.");
            return Ok(Exit::InvalidInput);
        }
    };
    diagnostics::show(&input.name, &input.source, &plan.warnings, Severity::Warning);
    if !arguments.quiet {
        announce(&plan);
    }
    if plan.tasks.is_empty() {
        return Ok(Exit::Success);
    }

    if let Some(objection) = cluster::validate(&input.config) {
        eprintln!("borges: {objection}");
        return Ok(Exit::InvalidInput);
    }
    let clock = Clock::system();
    let (scratch, directory) = cluster::temp_dir()?;
    // Agents of Mesos have nobody else to fetch from; the embedded cluster fetches nothing.
    let listener = match input.config.master {
        MasterAddress::Local => None,
        MasterAddress::Mesos(_) => Some(TcpListener::bind((input.config.bind, 0))?),
    };
    let bound = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::from)?;
    let seal = UrlSigner::new(&secret);
    let shelf = FetchUrls::new(bound.map(cluster::base_url).unwrap_or_default(), seal);
    let Cluster { master, sandbox, agent_end } =
        cluster::connect(&input.config, &directory, true, None, shelf).map_err(Failure::Cluster)?;
    // Without a home nothing is kept.
    let cache = state_directory(&input.config).map(|data| Cache::new(&data));
    let caching = match arguments {
        RunArguments { check: true, .. } => CacheMode::Disabled,
        RunArguments { resume: true, .. } => CacheMode::Resume,
        _ => CacheMode::StoreAll,
    };
    let parts = EngineParts {
        // Nobody can come back for what this run leaves behind: to save it on disk would be to wait for nothing.
        store: Box::new(MemoryStore::default()),
        master,
        sandbox,
        framework: cluster::framework_info(&input.config, 0.0, None),
        retention: input.config.keep,
        // It ends with the run.
        index_results: false,
        cache: cache.clone(),
        clock: clock.clone(),
    };
    let mut signals = Signals::new()?;
    let (engine, breaks) = Engine::start(parts)?;
    if let Some(listener) = listener {
        http::serve_files(engine.clone(), seal, listener)?;
    }
    let entries = engine.subscribe(None).events();
    let title = input.name.clone();
    let run =
        engine.submit(Submission { title, document: input.written, plan, key: None, caching }).await?.run;
    let watch =
        Watch::new(Backend::Local(engine.clone()), run, arguments.quiet, arguments.max_wait, clock.clone());
    let mut exit = watch.run(entries, breaks, &mut signals).await;
    if (arguments.write || arguments.check)
        && let Some(yielded) = engine.run_outputs(run).await?
    {
        let returned = async |current: Bytes| Ok(yielded.document(Some(&current), true));
        let path = &arguments.document.path;
        let done = if arguments.check { check(path, returned).await } else { rewrite(path, returned).await };
        if let Err(instead) = done {
            exit = exit.map(|exit| if exit == Exit::Success { instead } else { exit });
        }
    }
    if let Some(cache) = cache
        && let Err(error) = cache.evict(input.config.keep.time, input.config.keep.bytes, clock.now())
    {
        log::warn!("kept results cannot be looked at: {error}");
    }
    // The embedded cluster ends what still runs when it no longer hears from us; only then can its directory go.
    engine.disconnect().await?;
    agent_end.wait().await;
    clear(scratch).await?;
    Ok(exit?)
}

/// Removes the directory of a run. A copy of output that nobody waits for any more may be under way: with its
/// directory gone it comes to nothing, and the next try meets an empty one.
async fn clear(scratch: TempDir) -> io::Result<()> {
    for _ in 0..20 {
        match fs::remove_dir_all(scratch.path()) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done => return done,
        }
    }
    scratch.close()
}

fn announce(plan: &Plan) {
    let skipped: Vec<_> = plan
        .skipped
        .iter()
        .map(|skip| (skip.location(), skip.block.as_str(), skip.reason.as_str()))
        .collect();
    progress::announce(plan.tasks.len(), &skipped);
}
