//! Connects to the cluster that the setupfile names: Apache Mesos, or the embedded cluster.

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

/// A connected cluster.
pub(super) struct Cluster {
    pub(super) master: Box<dyn Master>,
    pub(super) sandbox: Rc<dyn Sandbox>,
    /// Resolves when the embedded agent has ended, if it ends with this process.
    pub(super) agent_end: AgentExit,
}

/// The error in the cluster settings of the setupfile; `None` if they are valid.
pub(super) fn validate(config: &Config) -> Option<String> {
    match &config.master {
        MasterAddress::Local => None,
        MasterAddress::Mesos(address) => Address::read(address)
            .and_then(|_| credential(config))
            .err()
            .map(|why| format!("`mesos_master`: {why}")),
    }
}

/// Connects to the cluster that the setupfile names. Its files are in `directory`.
///
/// `end_with_client`: the embedded agent ends with this process. `open_files` is the limit of open files of its
/// blocks; `None` if it is that of this process. Mesos agents fetch large files from `fetch_urls`.
pub(super) fn connect(
    config: &Config,
    directory: &Path,
    end_with_client: bool,
    open_files: Option<u64>,
    fetch_urls: FetchUrls,
) -> Result<Cluster, String> {
    match &config.master {
        MasterAddress::Local => embedded(config, directory, end_with_client, open_files),
        MasterAddress::Mesos(address) => mesos(config, address, directory, fetch_urls),
    }
}

fn mesos(config: &Config, address: &str, directory: &Path, fetch_urls: FetchUrls) -> Result<Cluster, String> {
    let credential = credential(config)?;
    let master = HttpMaster::new(Address::read(address)?, credential.clone(), fetch_urls);
    let outputs = directory.join("outputs");
    let sandbox = AgentSandbox::new(master.leader(), credential, outputs.clone());
    sandbox.resume_copies().map_err(|error| format!("{}: {error}", outputs.display()))?;
    Ok(Cluster { master: Box::new(master), sandbox: Rc::new(sandbox), agent_end: AgentExit::default() })
}

/// The principal and secret for Mesos; `None` without a secret, because a principal alone is not authenticated.
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
    end_with_client: bool,
    open_files: Option<u64>,
) -> Result<Cluster, String> {
    let executable = env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let options = AgentOptions {
        milli_cpus: config.milli_cpus.unwrap_or_else(machine_milli_cpus),
        mem_mib: config.mem.unwrap_or_else(machine_mem_mib),
        disk_mib: free_disk_mib(directory).map_err(|error| format!("{}: {error}", directory.display()))?,
        end_with_client,
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

/// The URL of this server for other machines: the bound address, or the host name if it is unspecified.
pub(super) fn base_url(bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        format!("http://{}:{}", hostname(), bound.port())
    } else {
        format!("http://{bound}")
    }
}

/// The registration of this framework. `failover_timeout` is in seconds, `webui_url` is for browsers.
pub(super) fn framework_info(
    config: &Config,
    failover_timeout: f64,
    webui_url: Option<String>,
) -> FrameworkInfo {
    use capability::Type;
    let capability = |kind: Type| Capability { r#type: Some(kind as i32) };
    let max_output = Label { key: MAX_OUTPUT_LABEL.to_owned(), value: Some(config.max_output.to_string()) };
    FrameworkInfo {
        user: config.user.clone().or_else(|| env::var("USER").ok()).unwrap_or_else(|| "root".to_owned()),
        principal: config.principal.clone(),
        name: format!("Borges v{}", env!("CARGO_PKG_VERSION")),
        failover_timeout: Some(failover_timeout),
        checkpoint: Some(true),
        hostname: Some(hostname()),
        webui_url,
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

/// The host name of this machine.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The CPUs to offer, in thousandths: at least 4, because a CPU is a share and several blocks can run on one core.
fn machine_milli_cpus() -> u64 {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    cores.max(4) * 1000
}

/// The memory of the machine, in MiB.
fn machine_mem_mib() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the fields' type is the platform's")]
    let bytes = u64::from(info.totalram) * u64::from(info.mem_unit);
    bytes >> 20
}

/// The free disk space of the sandboxes, in MiB.
fn free_disk_mib(directory: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(directory)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize)) >> 20)
}

/// A temporary directory for one run, and its canonical path.
pub(super) fn temp_dir() -> io::Result<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::Builder::new().prefix("borges-run-").tempdir()?;
    let path = directory.path().canonicalize()?;
    Ok((directory, path))
}
