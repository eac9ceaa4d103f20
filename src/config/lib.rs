//! Reads a setupfile into a [`Config`].
//!
//! A setupfile is an Org file with `#+key: value` lines. Keys are case-insensitive, and the last value of a key wins.
//! Its `header-args` properties apply to every document, with a lower precedence than the document's own. An environment
//! variable `BORGES_<KEY>` overrides a key (`BORGES_PORT` for `borges_port`, `BORGES_MESOS_MASTER` for `mesos_master`).

mod retention;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use borges_org::{self as org, Document, HeaderArgsProperty, Keyword, Position};
use borges_task::amount;

pub use retention::Retention;

/// What a setupfile says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `mesos_master`.
    pub master: MasterAddress,
    /// `borges_data`: the state directory; `None` is the default one.
    pub data: Option<PathBuf>,
    /// `borges_cpus`: what the embedded cluster offers, in thousandths; `None` is the machine's.
    pub milli_cpus: Option<u64>,
    /// `borges_mem`: what the embedded cluster offers, MiB; `None` is the machine's.
    pub mem: Option<u64>,
    /// `borges_lang`: the values, each with its place.
    pub languages: Vec<(String, Position)>,
    /// The `header-args` properties.
    pub header_args: Vec<HeaderArgsProperty>,
    /// `borges_bind`: the address the server listens on.
    pub bind: IpAddr,
    /// `borges_port`: its port; 0 lets the system choose.
    pub port: u16,
    /// `borges_token_file`; `None` is the default one, in the state directory.
    pub token_file: Option<PathBuf>,
    /// `borges_open`: nobody needs a token.
    pub open: bool,
    /// `borges_hosts`: names by which the server may be called.
    pub hosts: Vec<String>,
    /// `borges_max_document`: bytes.
    pub max_document: usize,
    /// `borges_max_blocks`.
    pub max_blocks: usize,
    /// `borges_max_output`: bytes of each stream of a block that has to finish.
    pub max_output: u64,
    /// `borges_keep`: how long, and how much of, ended runs.
    pub keep: Retention,
    /// `borges_role`: whose resources it takes.
    pub role: String,
    /// `borges_user`: as whom blocks run on agents; `None` is Borges' own.
    pub user: Option<String>,
    /// `borges_principal`: what it calls itself towards a master that asks.
    pub principal: Option<String>,
    /// `borges_secret_file`: where the principal's secret is.
    pub secret_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            master: MasterAddress::Local,
            data: None,
            milli_cpus: None,
            mem: None,
            languages: Vec::new(),
            header_args: Vec::new(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8888,
            token_file: None,
            open: false,
            hosts: Vec::new(),
            max_document: 16 << 20,
            max_blocks: 200_000,
            max_output: 1 << 30,
            keep: Retention::default(),
            role: "*".to_owned(),
            user: None,
            principal: None,
            secret_file: None,
        }
    }
}

/// Which cluster runs the blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MasterAddress {
    /// The embedded one.
    #[default]
    Local,
    /// Apache Mesos, by one of the spellings of `mesos_master`.
    Mesos(String),
}

impl fmt::Display for MasterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Mesos(address) => f.write_str(address),
        }
    }
}

/// What is wrong with a setupfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands; `None` for what comes from the environment.
    pub at: Option<Position>,
    /// What it is.
    pub text: String,
    /// What to write instead; may be empty.
    pub help: String,
}

/// Every key there is; all commands know them all, and some are of use to the server alone.
const KEYS: [&str; 18] = [
    "mesos_master",
    "borges_bind",
    "borges_port",
    "borges_data",
    "borges_cpus",
    "borges_mem",
    "borges_role",
    "borges_user",
    "borges_principal",
    "borges_secret_file",
    "borges_token_file",
    "borges_open",
    "borges_hosts",
    "borges_max_document",
    "borges_max_blocks",
    "borges_max_output",
    "borges_keep",
    "borges_lang",
];

impl Config {
    /// Reads a setupfile, then the variables of the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(
        setupfile: &[u8],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let document = org::parse(setupfile, &[]);
        let mut config = Self { header_args: header_args(&document), ..Self::default() };
        let mut errors = Vec::new();
        for Keyword { key, value, at, .. } in &document.keywords {
            let key = key.to_lowercase();
            if has_known_prefix(&key) {
                config.set(&key, value, Some(*at)).unwrap_or_else(|error| errors.push(error));
            }
        }
        for (name, value) in environment {
            if let Some(key) = key_for_variable(&name) {
                config.set(key, &value, None).unwrap_or_else(|error| errors.push(error));
            }
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    fn set(&mut self, key: &str, value: &str, at: Option<Position>) -> Result<(), ConfigError> {
        let invalid = |help: &str| ConfigError {
            at,
            text: format!("`{value}` is no value of `{key}`"),
            help: help.to_owned(),
        };
        match key {
            "mesos_master" => {
                self.master = match value {
                    "" => return Err(invalid("Write `local`, or where a Mesos master is: `HOST:PORT`.")),
                    "local" => MasterAddress::Local,
                    address => MasterAddress::Mesos(address.to_owned()),
                }
            }
            "borges_data" if value.is_empty() => return Err(invalid("Write a directory.")),
            "borges_data" => self.data = Some(value.into()),
            "borges_cpus" => {
                let cpus = amount::milli_cpus(value);
                self.milli_cpus = Some(cpus.ok_or_else(|| invalid("Write a number of cpus, such as `4`."))?);
            }
            "borges_mem" => {
                let mem = amount::mebibytes(value);
                self.mem = Some(mem.ok_or_else(|| invalid("Write MiB, or an amount such as `8G`."))?);
            }
            "borges_bind" => {
                self.bind =
                    value.parse().map_err(|_| invalid("Write an IP address, such as `127.0.0.1`."))?;
            }
            "borges_port" => {
                self.port = value.parse().map_err(|_| invalid("Write a port, from 0 to 65535."))?;
            }
            "borges_token_file" if value.is_empty() => return Err(invalid("Write a file.")),
            "borges_token_file" => self.token_file = Some(value.into()),
            "borges_open" => {
                self.open = match value {
                    "t" | "yes" | "true" => true,
                    "nil" | "no" | "false" => false,
                    _ => return Err(invalid("Write `t` or `nil`.")),
                }
            }
            "borges_hosts" => {
                self.hosts = value
                    .split([' ', '\t', ','])
                    .filter(|host| !host.is_empty())
                    .map(str::to_owned)
                    .collect();
            }
            "borges_max_document" => {
                let bytes = amount::bytes(value)
                    .ok_or_else(|| invalid("Write bytes, or an amount such as `16M`."))?;
                self.max_document = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            "borges_max_blocks" => {
                self.max_blocks =
                    value.parse().map_err(|_| invalid("Write a whole number, such as `200000`."))?;
            }
            "borges_lang" => self.languages.push((value.to_owned(), at.unwrap_or_default())),
            "borges_max_output" => {
                self.max_output =
                    amount::bytes(value).ok_or_else(|| invalid("Write bytes, or an amount such as `1G`."))?;
            }
            "borges_keep" => {
                let help = "Write how long, how much, or both: `7d 10G`.";
                self.keep = Retention::read(value).ok_or_else(|| invalid(help))?;
            }
            "borges_role" => match retention::validate_role(value) {
                None => value.clone_into(&mut self.role),
                Some(why) => return Err(invalid(why)),
            },
            "borges_user" if value.is_empty() => return Err(invalid("Write a user's name.")),
            "borges_user" => self.user = Some(value.to_owned()),
            "borges_principal" if value.is_empty() => return Err(invalid("Write a name.")),
            "borges_principal" => self.principal = Some(value.to_owned()),
            "borges_secret_file" if value.is_empty() => return Err(invalid("Write a file.")),
            "borges_secret_file" => self.secret_file = Some(value.into()),
            key => {
                let suggestion = org::suggest(key, KEYS);
                return Err(ConfigError {
                    at,
                    text: format!("there is no key `{key}`"),
                    help: suggestion
                        .map(|suggestion| format!("Did you mean `{suggestion}`?"))
                        .unwrap_or_default(),
                });
            }
        }
        Ok(())
    }
}

fn has_known_prefix(key: &str) -> bool {
    key.starts_with("borges_") || key.starts_with("mesos_")
}

/// The key that a variable of the environment overrides; `None` for variables that are none of ours, and
/// for those that a block is given (`BORGES_TASK` …).
fn key_for_variable(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix("BORGES_")?.to_lowercase();
    KEYS.into_iter().find(|key| *key == rest || key.strip_prefix("borges_") == Some(&rest))
}

/// `#+PROPERTY: header-args[:LANG] …` lines.
fn header_args(document: &Document) -> Vec<HeaderArgsProperty> {
    let properties = document.keywords.iter().filter(|keyword| keyword.key == "PROPERTY");
    properties
        .filter_map(|Keyword { value, at, .. }| {
            let (name, arguments) = value.split_once(char::is_whitespace)?;
            let language = match name.to_lowercase().strip_prefix("header-args")? {
                "" => None,
                language => Some(language.strip_prefix(':')?.to_owned()),
            };
            Some(HeaderArgsProperty { language, value: arguments.trim().to_owned(), at: *at })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Config::read(text.as_bytes(), []).unwrap()
    }

    fn errors(text: &str) -> Vec<String> {
        let line = |error: &ConfigError| {
            let Position { line, column } = error.at.unwrap_or_default();
            format!("{line}:{column}: {} {}", error.text, error.help)
        };
        Config::read(text.as_bytes(), []).unwrap_err().iter().map(line).collect()
    }

    #[test]
    fn keys_are_case_insensitive_and_the_last_value_wins() {
        let config = read(
            "#+TITLE: ours\n#+Borges_CPUS: 2\n#+borges_cpus: 1.5\n#+borges_mem: 2G\n\
             #+mesos_master: 10.0.0.1:5050\n#+borges_port: 8888\n#+borges_lang: py python3\n",
        );
        assert_eq!((config.milli_cpus, config.mem), (Some(1500), Some(2048)));
        assert_eq!(config.master, MasterAddress::Mesos("10.0.0.1:5050".to_owned()));
        assert_eq!(config.languages, [("py python3".to_owned(), Position { line: 7, column: 16 })]);
        assert_eq!(read(""), Config::default());
    }

    #[test]
    fn server_keys_are_read() {
        let config = read(
            "#+borges_bind: 192.168.0.7\n#+borges_port: 8080\n#+borges_open: t\n\
             #+borges_hosts: a.example b.example\n#+borges_max_document: 2M\n#+borges_max_blocks: 7\n",
        );
        assert_eq!((config.bind.to_string().as_str(), config.port), ("192.168.0.7", 8080));
        assert!(config.open);
        assert_eq!(config.hosts, ["a.example", "b.example"]);
        assert_eq!((config.max_document, config.max_blocks), (2 << 20, 7));
        for invalid in ["bind: here", "port: 99999", "open: perhaps", "max_document: much", "max_blocks: -1"]
        {
            assert_eq!(errors(&format!("#+borges_{invalid}\n")).len(), 1, "{invalid}");
        }
    }

    #[test]
    fn cluster_keys_are_read() {
        let config = read(
            "#+borges_role: eng/web\n#+borges_user: nobody\n#+borges_principal: me\n\
             #+borges_secret_file: /etc/secret\n#+borges_max_output: 5M\n#+borges_keep: 12h\n",
        );
        assert_eq!((config.role.as_str(), config.user.as_deref()), ("eng/web", Some("nobody")));
        assert_eq!((config.principal.as_deref(), config.max_output), (Some("me"), 5 << 20));
        assert_eq!(config.secret_file, Some("/etc/secret".into()));
        assert_eq!(
            config.keep,
            Retention { time: std::time::Duration::from_secs(12 * 3600), ..Retention::default() }
        );
        assert_eq!(read("#+borges_keep: 7d 10G\n").keep, Retention::default());
        for invalid in
            ["role:", "role: /a", "role: a b", "role: a/*", "keep:", "keep: long", "keep: 7y", "user:"]
        {
            assert_eq!(errors(&format!("#+borges_{invalid}\n")).len(), 1, "{invalid}");
        }
    }

    #[test]
    fn environment_variables_override_keys() {
        let variables = [("BORGES_MESOS_MASTER", "local"), ("BORGES_CPUS", "3"), ("BORGES_TASK", "x.1")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::read(b"#+mesos_master: zk://h:2181/mesos\n", variables).unwrap();
        assert_eq!((config.master, config.milli_cpus), (MasterAddress::Local, Some(3000)));
    }

    /// Of each key: a value, and one that is none.
    #[test]
    fn every_key_has_an_override_and_is_suggested_for_typos() {
        let values = [
            ("mesos_master", "zk://h:2181/mesos", ""),
            ("borges_bind", "10.0.0.1", "here"),
            ("borges_port", "1", "65536"),
            ("borges_data", "/d", ""),
            ("borges_cpus", "2.5", "0"),
            ("borges_mem", "1G", "none"),
            ("borges_role", "r", "/"),
            ("borges_user", "u", ""),
            ("borges_principal", "p", ""),
            ("borges_secret_file", "/s", ""),
            ("borges_token_file", "/t", ""),
            ("borges_open", "t", "perhaps"),
            ("borges_hosts", "a b", "-"),
            ("borges_max_document", "1K", "0"),
            ("borges_max_blocks", "1", "few"),
            ("borges_max_output", "1K", "1X"),
            ("borges_keep", "1d", "long"),
            ("borges_lang", "py python3", "-"),
        ];
        assert_eq!(values.map(|(key, ..)| key), KEYS);
        for (key, good, bad) in values {
            let variable = format!("BORGES_{}", key.strip_prefix("borges_").unwrap_or(key).to_uppercase());
            let by_variable = |value: &str| Config::read(b"", [(variable.clone(), value.to_owned())]);
            let mut overridden = by_variable(good).unwrap();
            // A language has a place in the setupfile, and none in the environment.
            overridden.languages.iter_mut().for_each(|(_, at)| *at = Position { line: 1, column: 16 });
            assert_eq!(overridden, read(&format!("#+{key}: {good}\n")), "{key}");
            assert_ne!(overridden, Config::default(), "{key}");
            if bad != "-" {
                let error = by_variable(bad).unwrap_err().remove(0);
                assert!(
                    error.at.is_none() && error.text.contains(key) && !error.help.is_empty(),
                    "{error:?}"
                );
                assert_eq!(errors(&format!("#+{key}: {bad}\n")).len(), 1, "{key}");
            }
            // Every key with a letter lost, and with two swapped.
            for at in 8..key.len() {
                let shortened = format!("{}{}", &key[..at], &key[at + 1..]);
                let help = errors(&format!("#+{shortened}: {good}\n")).remove(0);
                assert!(KEYS.iter().any(|key| help.contains(&format!("Did you mean `{key}`?"))), "{help}");
            }
            let last = key.len() - 1;
            let swapped = format!("{}{}{}", &key[..last - 1], &key[last..], &key[last - 1..last]);
            let help = errors(&format!("#+{swapped}: {good}\n")).remove(0);
            assert!(help.contains(&format!("Did you mean `{key}`?")), "{help}");
        }
    }

    #[test]
    fn header_arguments_are_grouped_by_language() {
        let config = read("#+PROPERTY: header-args :mem 64\n#+PROPERTY: header-args:SH :cpu 2\n");
        let header_args: Vec<_> =
            config.header_args.iter().map(|p| (p.language.as_deref(), &*p.value)).collect();
        assert_eq!(header_args, [(None, ":mem 64"), (Some("sh"), ":cpu 2")]);
    }

    #[test]
    fn errors_have_positions_and_suggestions() {
        assert_eq!(
            errors("#+borges_prot: 1\n#+borges_cpus: many\n#+mesos_whatever: 1\n"),
            [
                "1:16: there is no key `borges_prot` Did you mean `borges_port`?",
                "2:16: `many` is no value of `borges_cpus` Write a number of cpus, such as `4`.",
                "3:19: there is no key `mesos_whatever` ",
            ]
        );
    }
}
