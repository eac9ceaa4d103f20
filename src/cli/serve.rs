//! `borges -f SETUPFILE`: the server.

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

/// How long blocks live on after a server that does not come back, in seconds: a week.
const FAILOVER: f64 = 7.0 * 24.0 * 3600.0;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Runs the server until a signal ends it; its blocks run on.
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
    let said = |what: String| move |error: io::Error| format!("{what}: {error}");
    let data =
        state_directory(config).ok_or("there is no home for the state directory: set `borges_data`")?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .map_err(said(format!("the state directory `{}` cannot be made", data.display())))?;
    let data = data.canonicalize().map_err(said(format!("`{}` cannot be found", data.display())))?;
    // First of all: a second server on the same state ends here, before it takes the port or starts a cluster.
    let mut store = RedbStore::open(&data.join("store.redb")).map_err(|error| error.to_string())?;
    if new_framework {
        store.commit(&[WriteOp::Framework(String::new())]).map_err(|error| error.to_string())?;
        log::warn!("the framework id is given up; the cluster gives another one");
    }
    let listener = TcpListener::bind((config.bind, config.port)).map_err(said(format!(
        "cannot listen on {}:{} (`borges_bind`, `borges_port`)",
        config.bind, config.port
    )))?;
    // The standard library asks for 128: who comes when as many wait is only heard a second later.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| format!("cannot listen: {error}"))?;
    let address = listener.local_addr().map_err(said("the own address cannot be told".to_owned()))?;
    let user = rustix::process::geteuid().as_raw();
    let token_file = config.token_file.clone().unwrap_or_else(|| data.join("token"));
    let token = http::Token::load_or_create(&token_file, user).map_err(|error| error.to_string())?;
    log::info!("API server running at {address}; the token is in {}", token_file.display());
    if config.open {
        log::warn!("borges_open: whoever reaches {address} may run code here, without a token");
    }
    for warning in without_effect(config) {
        log::warn!("{warning}");
    }
    if config.master == MasterAddress::Local
        && let Err(why) = borges_embedded::enforces_memory()
    {
        log::warn!("`:mem` is subtracted from what is offered, and not enforced: {why}");
    }
    let clock = Clock::system();
    let open_files = open_as_many_as_may_be();
    let seal = UrlSigner::new(token.secret().as_bytes());
    let base = cluster::base_url(address);
    let shelf = FetchUrls::new(base.clone(), seal);
    let Cluster { master, sandbox, .. } = cluster::connect(config, &data, false, open_files, shelf)?;
    let cache = Cache::new(&data);
    let (engine, breaks) = Engine::start(EngineParts {
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
        url_signer: seal,
    };
    let mut breaks = breaks;
    let ended = tokio::select! {
        ended = http::serve(server, listener) => ended.map_err(said("the server failed".to_owned())),
        broken = breaks.recv() => Err(broken.map_or_else(|| "the scheduler has stopped".to_owned(), |b| b.reason)),
    };
    engine.disconnect().await.map_err(|error| error.to_string())?;
    ended
}

/// Each client is an open file: takes as many as the system lets us have. The number before, if it was smaller.
fn open_as_many_as_may_be() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let (Some(before), most) = (limit.current, limit.maximum) else { return None };
    let taken = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    taken.is_ok().then_some(before)
}

/// What the setupfile asks for and does not get.
fn without_effect(config: &Config) -> impl Iterator<Item = &'static str> {
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
    .filter_map(|(holds, warning)| holds.then_some(warning))
}

/// `borges_data`, or `$XDG_STATE_HOME/borges`, or `~/.local/state/borges`.
pub(super) fn state_directory(config: &Config) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    config
        .data
        .clone()
        .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("borges")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/borges")))
}
