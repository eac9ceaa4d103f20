//! `borges run`: runs a document with an engine in this process, and waits for its end.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use tempfile::TempDir;

use super::args::RunArgs;
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

/// Runs a document; `--write` and `--check` then use its results.
pub(super) fn run(arguments: &RunArgs) -> Exit {
    if (arguments.write || arguments.check) && arguments.document.path == Path::new("-") {
        eprintln!("stdin: error: `--write` and `--check` want a document that lies in a file");
        return Exit::InvalidInput;
    }
    let mut input = match input::read(&arguments.document) {
        Ok(input) => input,
        Err(exit) => return exit,
    };
    // Results that go into the document must be those that Emacs would write.
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

/// Why a run could not be completed.
#[derive(Debug, thiserror::Error)]
enum RunError {
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

async fn read_and_run(arguments: &RunArgs, input: Input) -> Result<Exit, RunError> {
    let document = ParseDocument {
        source: input.source.clone(),
        defaults: input.config.header_args.clone(),
        options: input.request.clone(),
    };
    let plan = match ParserPool::start().read(document).await?.plan {
        Ok(plan) => plan,
        Err(errors) => {
            diagnostics::show(&input.name, &input.source, &errors, Severity::Error);
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
    let (temp_dir, directory) = cluster::temp_dir()?;
    // Mesos agents fetch large files from this process. The embedded cluster fetches nothing.
    let listener = match input.config.master {
        MasterAddress::Local => None,
        MasterAddress::Mesos(_) => Some(TcpListener::bind((input.config.bind, 0))?),
    };
    let bound = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(std::io::Error::from)?;
    let url_signer = UrlSigner::new(&secret);
    let fetch_urls = FetchUrls::new(bound.map(cluster::base_url).unwrap_or_default(), url_signer);
    let Cluster { master, sandbox, agent_end } =
        cluster::connect(&input.config, &directory, true, None, fetch_urls).map_err(RunError::Cluster)?;
    // Without a state directory there is no cache.
    let cache = state_directory(&input.config).map(|data| Cache::new(&data));
    let caching = match arguments {
        RunArgs { check: true, .. } => CacheMode::Disabled,
        RunArgs { resume: true, .. } => CacheMode::Resume,
        _ => CacheMode::StoreAll,
    };
    let parts = EngineParts {
        // The state of the run ends with this process, so it needs no disk.
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
    let (engine, fatal_errors) = Engine::start(parts)?;
    if let Some(listener) = listener {
        http::serve_files(engine.clone(), url_signer, listener)?;
    }
    let entries = engine.subscribe(None).events();
    let title = input.name.clone();
    let run =
        engine.submit(Submission { title, document: input.written, plan, key: None, caching }).await?.run;
    let watch =
        Watch::new(Backend::Local(engine.clone()), run, arguments.quiet, arguments.max_wait, clock.clone());
    let mut exit = watch.run(entries, fatal_errors, &mut signals).await;
    if (arguments.write || arguments.check)
        && let Some(outputs) = engine.run_outputs(run).await?
    {
        let with_results = async |current: Bytes| Ok(outputs.document(Some(&current), true));
        let path = &arguments.document.path;
        let written =
            if arguments.check { check(path, with_results).await } else { rewrite(path, with_results).await };
        if let Err(failure) = written {
            exit = exit.map(|exit| if exit == Exit::Success { failure } else { exit });
        }
    }
    if let Some(cache) = cache
        && let Err(error) = cache.evict(input.config.keep.time, input.config.keep.bytes, clock.now())
    {
        log::warn!("kept results cannot be looked at: {error}");
    }
    // After the disconnect the embedded cluster kills the remaining blocks. Then its directory can be removed.
    engine.disconnect().await?;
    agent_end.wait().await;
    remove_directory(temp_dir).await?;
    Ok(exit?)
}

/// Removes the directory of a run. Retries for a second, because a copy of output that is still under way may add a
/// file to it.
async fn remove_directory(temp_dir: TempDir) -> io::Result<()> {
    for _ in 0..20 {
        match fs::remove_dir_all(temp_dir.path()) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
    temp_dir.close()
}

fn announce(plan: &Plan) {
    let skipped: Vec<_> = plan
        .skipped
        .iter()
        .map(|skip| (skip.location(), skip.block.as_str(), skip.reason.as_str()))
        .collect();
    progress::announce(plan.tasks.len(), &skipped);
}
