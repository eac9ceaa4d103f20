//! `borges serve`: opens the store, connects to the cluster, and serves the HTTP API until a signal.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::{env, fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::args::ServeArgs;
use super::cluster::{self, Cluster};
use super::exit::Exit;
use super::input;
use borges_babel::Languages;
use borges_clock::Clock;
use borges_config::{Config, MasterAddress};
use borges_engine::{Engine, EngineParts, ParserPool};
use borges_http::{self as http, Server};
use borges_mesos::wrapper::FetchUrls;
use borges_plan::PlanOptions;
use borges_store::{Cache, RedbStore, Store, WriteOp};
use borges_task::UrlSigner;

/// How long the cluster keeps the blocks of a stopped server running: one week, in seconds.
const FAILOVER: f64 = 7.0 * 24.0 * 3600.0;

/// The maximum number of connections that are not accepted yet.
const LISTEN_BACKLOG: i32 = 4096;

/// Runs the server until a signal ends it. Its blocks continue.
pub(super) fn serve(arguments: &ServeArgs) -> Exit {
    if let Some(path) = &arguments.setupfile {
        log::info!("Reading #+setupfile: {}", path.display());
    }
    let config = match arguments.setupfile.as_deref().map_or_else(input::default_config, input::config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Some(objection) = cluster::validate(&config) {
        eprintln!("borges: {objection}");
        return Exit::InvalidInput;
    }
    let languages = match input::languages(&config, arguments.setupfile.as_deref()) {
        Ok(languages) => languages,
        Err(exit) => return exit,
    };
    actix::System::new().block_on(async {
        match run(&config, languages, arguments.new_framework).await {
            Ok(()) => Exit::Success,
            Err(failure) => {
                eprintln!("borges: {failure}");
                Exit::InvalidInput
            }
        }
    })
}

async fn run(config: &Config, languages: Languages, new_framework: bool) -> Result<(), String> {
    let with_context = |context: String| move |error: io::Error| format!("{context}: {error}");
    let data =
        state_directory(config).ok_or("there is no home for the state directory: set `borges_data`")?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .map_err(with_context(format!("the state directory `{}` cannot be made", data.display())))?;
    let data = data.canonicalize().map_err(with_context(format!("`{}` cannot be found", data.display())))?;
    // The store is opened first: its lock stops a second server before that takes the port or starts a cluster.
    let mut store = RedbStore::open(&data.join("store.redb")).map_err(|error| error.to_string())?;
    if new_framework {
        store.commit(&[WriteOp::Framework(String::new())]).map_err(|error| error.to_string())?;
        log::warn!("the framework id is given up; the cluster gives another one");
    }
    let listener = TcpListener::bind((config.bind, config.port)).map_err(with_context(format!(
        "cannot listen on {}:{} (`borges_bind`, `borges_port`)",
        config.bind, config.port
    )))?;
    // The standard library sets a backlog of 128. A client beyond it retries only after a second.
    rustix::net::listen(&listener, LISTEN_BACKLOG).map_err(|error| format!("cannot listen: {error}"))?;
    let address = listener.local_addr().map_err(with_context("the own address cannot be told".to_owned()))?;
    let user = rustix::process::geteuid().as_raw();
    let token_file = config.token_file.clone().unwrap_or_else(|| data.join("token"));
    let token = http::Token::load_or_create(&token_file, user).map_err(|error| error.to_string())?;
    log::info!("API server running at {address}; the token is in {}", token_file.display());
    if config.open {
        log::warn!("borges_open: whoever reaches {address} may run code here, without a token");
    }
    for warning in warnings(config) {
        log::warn!("{warning}");
    }
    if config.master == MasterAddress::Local
        && let Err(why) = borges_embedded::enforces_memory()
    {
        log::warn!("`:mem` is subtracted from what is offered, and not enforced: {why}");
    }
    let clock = Clock::system();
    let open_files = raise_open_file_limit();
    let url_signer = UrlSigner::new(token.secret().as_bytes());
    let base = cluster::base_url(address);
    let fetch_urls = FetchUrls::new(base.clone(), url_signer);
    let Cluster { master, sandbox, .. } = cluster::connect(config, &data, false, open_files, fetch_urls)?;
    let cache = Cache::new(&data);
    let (engine, mut fatal_errors) = Engine::start(EngineParts {
        store: Box::new(store),
        master,
        sandbox,
        framework: cluster::framework_info(config, FAILOVER, Some(format!("{base}/"))),
        retention: config.keep,
        index_results: true,
        cache: Some(cache.clone()),
        clock: clock.clone(),
    })
    .map_err(|error| error.to_string())?;
    let server = Server {
        engine: engine.clone(),
        parser: ParserPool::start(),
        clock: clock.clone(),
        address,
        master: config.master.to_string(),
        started: clock.now(),
        token,
        user,
        open: config.open,
        hosts: config.hosts.iter().cloned().chain([cluster::hostname()]).collect(),
        header_args: config.header_args.clone(),
        plan_options: PlanOptions { languages, ..PlanOptions::default() },
        max_document: config.max_document,
        max_blocks: config.max_blocks,
        cache,
        url_signer,
    };
    let result = tokio::select! {
        outcome = http::serve(server, listener) => outcome.map_err(with_context("the server failed".to_owned())),
        error = fatal_errors.recv() => {
            Err(error.map_or_else(|| "the scheduler has stopped".to_owned(), |error| error.reason))
        }
    };
    engine.disconnect().await.map_err(|error| error.to_string())?;
    result
}

/// Raises the limit of open files to its maximum, because each client is an open file. Returns the limit before;
/// `None` if it stays.
fn raise_open_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let (Some(before), maximum) = (limit.current, limit.maximum) else { return None };
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    raised.is_ok().then_some(before)
}

/// A warning for each setting that has no effect on this cluster.
fn warnings(config: &Config) -> impl Iterator<Item = &'static str> {
    let default = Config::default();
    let is_local = config.master == MasterAddress::Local;
    [
        (
            is_local && config.user.is_some(),
            "borges_user has no effect: the embedded cluster runs blocks as its own user",
        ),
        (
            is_local && (config.principal.is_some() || config.secret_file.is_some()),
            "borges_principal and borges_secret_file have no effect: the embedded cluster asks for no name",
        ),
        (
            !is_local && config.max_output != default.max_output,
            "borges_max_output has no effect: output on Apache Mesos has no limit",
        ),
        (
            !is_local && config.bind.is_loopback(),
            "borges_bind is this machine alone: agents on others cannot fetch files of more than 64 KiB",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, warning)| applies.then_some(warning))
}

/// The state directory: `borges_data`, or `$XDG_STATE_HOME/borges`, or `~/.local/state/borges`.
pub(super) fn state_directory(config: &Config) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    config
        .data
        .clone()
        .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("borges")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/borges")))
}
