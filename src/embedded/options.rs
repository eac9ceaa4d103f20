//! [`AgentOptions`], the options of `borges agent`: written as command-line arguments and read back.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use super::protocol::PROTOCOL;
use borges_mesos::resources::Quantities;

/// The options of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOptions {
    /// The state directory: one agent each. Sandboxes lie under `frameworks/`, its own files under `agent/`.
    pub directory: PathBuf,
    /// Thousandths of a cpu to offer; a share, not cores.
    pub milli_cpus: u64,
    /// Memory to offer, in MiB.
    pub mem_mib: u64,
    /// Disk to offer, in MiB.
    pub disk_mib: u64,
    /// Whether all blocks are killed when the last client disconnects.
    pub end_with_client: bool,
    /// The machine's name in offers.
    pub hostname: String,
    /// The limit of open files of the agent and its blocks; `None` to inherit the limit.
    pub open_files: Option<u64>,
    /// The version of the protocol with its clients.
    pub protocol: u32,
    /// Which of the agent's two processes this is.
    pub role: Role,
}

/// The two processes of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The parent, which reaps the blocks of a dead agent.
    Reaper,
    /// The child, which runs the blocks.
    Agent,
}

/// Why arguments are not those of an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An unknown argument.
    #[error("`borges agent` does not know the argument `{0}`")]
    UnknownOption(String),
    /// An argument without a value, or with an invalid one.
    #[error("`borges agent` needs a proper value after `{0}`")]
    BadValue(&'static str),
    /// `--directory` is missing.
    #[error("`borges agent` needs `--directory DIR`")]
    NoDirectory,
}

impl AgentOptions {
    /// Options of an agent of `directory` that offers nothing.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            milli_cpus: 0,
            mem_mib: 0,
            disk_mib: 0,
            end_with_client: false,
            hostname: "localhost".to_owned(),
            open_files: None,
            protocol: PROTOCOL,
            role: Role::Reaper,
        }
    }

    /// Reads what [`Self::to_args`] writes: the arguments after `borges agent`.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let mut options = Self::new(PathBuf::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str().unwrap_or_default() {
                "--directory" => {
                    options.directory = args.next().ok_or(OptionsError::BadValue("--directory"))?.into();
                }
                "--milli-cpus" => options.milli_cpus = parse_number("--milli-cpus", args.next().as_deref())?,
                "--mem-mib" => options.mem_mib = parse_number("--mem-mib", args.next().as_deref())?,
                "--disk-mib" => options.disk_mib = parse_number("--disk-mib", args.next().as_deref())?,
                "--hostname" => {
                    let name = args.next().and_then(|name| name.into_string().ok());
                    options.hostname = name.ok_or(OptionsError::BadValue("--hostname"))?;
                }
                "--open-files" => {
                    options.open_files = Some(parse_number("--open-files", args.next().as_deref())?);
                }
                "--protocol" => options.protocol = parse_number("--protocol", args.next().as_deref())?,
                "--end-with-client" => options.end_with_client = true,
                "--role" => {
                    options.role = match args.next().as_deref().and_then(OsStr::to_str) {
                        Some("reaper") => Role::Reaper,
                        Some("agent") => Role::Agent,
                        _ => return Err(OptionsError::BadValue("--role")),
                    }
                }
                _ => return Err(OptionsError::UnknownOption(arg.to_string_lossy().into_owned())),
            }
        }
        if options.directory.as_os_str().is_empty() {
            return Err(OptionsError::NoDirectory);
        }
        Ok(options)
    }

    /// These options as the arguments after `borges agent`.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--directory".into(), self.directory.clone().into()];
        for (name, value) in
            [("--milli-cpus", self.milli_cpus), ("--mem-mib", self.mem_mib), ("--disk-mib", self.disk_mib)]
        {
            args.extend([name.into(), value.to_string().into()]);
        }
        args.extend(["--hostname".into(), self.hostname.clone().into()]);
        if self.end_with_client {
            args.push("--end-with-client".into());
        }
        if let Some(files) = self.open_files {
            args.extend(["--open-files".into(), files.to_string().into()]);
        }
        args.extend(["--protocol".into(), self.protocol.to_string().into()]);
        let role = match self.role {
            Role::Reaper => "reaper",
            Role::Agent => "agent",
        };
        args.extend(["--role".into(), role.into()]);
        args
    }

    /// The resources to offer, with all ports of the machine.
    pub(crate) fn total_resources(&self) -> Quantities {
        Quantities {
            milli_cpus: self.milli_cpus,
            mem_mib: self.mem_mib,
            disk_mib: self.disk_mib,
            gpus: 0,
            ports: vec![(1, 65_535)],
        }
    }
}

fn parse_number<N: FromStr>(name: &'static str, value: Option<&OsStr>) -> Result<N, OptionsError> {
    value.and_then(OsStr::to_str).and_then(|value| value.parse().ok()).ok_or(OptionsError::BadValue(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn options_survive_the_round_trip_through_arguments() {
        let options = AgentOptions {
            directory: OsString::from_vec(b"/tmp/a \xff".to_vec()).into(),
            milli_cpus: 1500,
            mem_mib: 56,
            disk_mib: 7,
            end_with_client: true,
            hostname: "h".to_owned(),
            open_files: Some(1024),
            protocol: 7,
            role: Role::Agent,
        };
        assert_eq!(AgentOptions::from_args(options.to_args()), Ok(options.clone()));
        let reaper = AgentOptions { role: Role::Reaper, end_with_client: false, ..options };
        assert_eq!(AgentOptions::from_args(reaper.to_args()), Ok(reaper));
    }

    #[test]
    fn errors_name_the_wrong_argument() {
        let error_of =
            |args: &[&str]| AgentOptions::from_args(args.iter().map(OsString::from)).unwrap_err().to_string();
        insta::assert_snapshot!(error_of(&[]), @"`borges agent` needs `--directory DIR`");
        insta::assert_snapshot!(error_of(&["--diretory"]), @"`borges agent` does not know the argument `--diretory`");
        insta::assert_snapshot!(error_of(&["--mem-mib", "2G"]), @"`borges agent` needs a proper value after `--mem-mib`");
        insta::assert_snapshot!(error_of(&["--role"]), @"`borges agent` needs a proper value after `--role`");
    }
}
