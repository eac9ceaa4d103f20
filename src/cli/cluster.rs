//! The cluster a run goes to.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::thread::available_parallelism;
use std::{env, io};

use borges_config::{Config, MasterAddress};
use borges_embedded::{self as embedded, AgentExit, AgentOptions, Client, LocalSandbox};
use borges_mesos::address::Address;
use borges_mesos::agent_sandbox::AgentSandbox;
use borges_mesos::credential::Credential;
use borges_mesos::http::HttpMaster;
use borges_mesos::messages::framework_info::{Capability, capability};
use borges_mesos::messages::{FrameworkInfo, Label, Labels};
use borges_mesos::task_info::MAX_OUTPUT_LABEL;
use borges_mesos::wrapper::FetchUrls;
use borges_mesos::{Master, Sandbox};

/// A cluster, ready to be spoken to.
pub(super) struct Cluster {
    pub(super) master: Box<dyn Master>,
    pub(super) sandbox: Rc<dyn Sandbox>,
    /// The end of its agent, if that ends with us.
    pub(super) agent_end: AgentExit,
}

/// What is wrong with the cluster that the setupfile names; `None` for one that can be had.
pub(super) fn validate(config: &Config) -> Option<String> {
    match &config.master {
        MasterAddress::Local => None,
        MasterAddress::Mesos(address) => Address::read(address)
            .and_then(|_| credential(config))
            .err()
            .map(|why| format!("`mesos_master`: {why}")),
    }
}

/// The cluster that the setupfile names. What it needs of files lies in `directory`.
///
/// The embedded one ends with us if it is to, and `open_files` is what its blocks may have open, where we may
/// have another number. Agents of Mesos fetch from `shelf` what is too large to be sent along.
pub(super) fn connect(
    config: &Config,
    directory: &Path,
    end_with_us: bool,
    open_files: Option<u64>,
    shelf: FetchUrls,
) -> Result<Cluster, String> {
    match &config.master {
        MasterAddress::Local => embedded(config, directory, end_with_us, open_files),
        MasterAddress::Mesos(address) => mesos(config, address, directory, shelf),
    }
}

fn mesos(config: &Config, address: &str, directory: &Path, shelf: FetchUrls) -> Result<Cluster, String> {
    let credential = credential(config)?;
    let master = HttpMaster::new(Address::read(address)?, credential.clone(), shelf);
    let copies = directory.join("outputs");
    let sandbox = AgentSandbox::new(master.leader(), credential, copies.clone());
    sandbox.resume_copies().map_err(|error| format!("{}: {error}", copies.display()))?;
    Ok(Cluster { master: Box::new(master), sandbox: Rc::new(sandbox), agent_end: AgentExit::default() })
}

/// The name and secret towards Mesos, where the setupfile has both. A name alone is told, not proven.
fn credential(config: &Config) -> Result<Option<Credential>, String> {
    match (&config.principal, &config.secret_file) {
        (Some(principal), Some(file)) => Credential::read(principal, file).map(Some),
        (None, Some(_)) => Err("`borges_secret_file` is set, and `borges_principal` is not".to_owned()),
        (_, None) => Ok(None),
    }
}

fn embedded(
    config: &Config,
    directory: &Path,
    end_with_us: bool,
    open_files: Option<u64>,
) -> Result<Cluster, String> {
    let executable = env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let options = AgentOptions {
        milli_cpus: config.milli_cpus.unwrap_or_else(machine_milli_cpus),
        mem_mib: config.mem.unwrap_or_else(machine_mem),
        disk_mib: free_disk(directory).map_err(|error| format!("{}: {error}", directory.display()))?,
        end_with_client: end_with_us,
        hostname: hostname(),
        open_files,
        ..AgentOptions::new(directory.to_owned())
    };
    let client = Client::new(options, executable);
    Ok(Cluster {
        agent_end: client.agent_exit(),
        master: Box::new(client),
        sandbox: Rc::new(LocalSandbox::new(directory)),
    })
}

/// Where we are found from other machines: the address we are bound to, or else this machine's name.
pub(super) fn base_url(bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        format!("http://{}:{}", hostname(), bound.port())
    } else {
        format!("http://{bound}")
    }
}

/// What we call ourselves; `failover` is how long tasks are to outlive us, in seconds, `page` where a browser
/// finds us.
pub(super) fn framework_info(config: &Config, failover: f64, page: Option<String>) -> FrameworkInfo {
    use capability::Type;
    let capability = |kind: Type| Capability { r#type: Some(kind as i32) };
    let max_output = Label { key: MAX_OUTPUT_LABEL.to_owned(), value: Some(config.max_output.to_string()) };
    FrameworkInfo {
        user: config.user.clone().or_else(|| env::var("USER").ok()).unwrap_or_else(|| "root".to_owned()),
        principal: config.principal.clone(),
        name: format!("Borges v{}", env!("CARGO_PKG_VERSION")),
        failover_timeout: Some(failover),
        checkpoint: Some(true),
        hostname: Some(hostname()),
        webui_url: page,
        labels: Some(Labels { labels: vec![max_output] }),
        roles: vec![config.role.clone()],
        capabilities: [
            Type::MultiRole,
            Type::PartitionAware,
            Type::TaskKillingState,
            Type::ReservationRefinement,
        ]
        .map(capability)
        .into(),
        ..FrameworkInfo::default()
    }
}

/// `borges agent …`.
pub(super) fn agent(arguments: Vec<OsString>) -> ExitCode {
    embedded::agent_main(arguments)
}

/// What this machine is called.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A cpu is a share, not a core: with few cores, several blocks run side by side all the same.
fn machine_milli_cpus() -> u64 {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    cores.max(4) * 1000
}

/// All memory of the machine, MiB.
fn machine_mem() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the fields' type is the platform's")]
    let bytes = u64::from(info.totalram) * u64::from(info.mem_unit);
    bytes >> 20
}

/// What is free where the sandboxes lie, MiB.
fn free_disk(directory: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(directory)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize)) >> 20)
}

/// A directory of our own for the time of a run.
pub(super) fn temp_dir() -> io::Result<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::Builder::new().prefix("borges-run-").tempdir()?;
    let path = directory.path().canonicalize()?;
    Ok((directory, path))
}
