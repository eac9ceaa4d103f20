//! Documents and setupfiles, from disk.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use bytes::Bytes;

use super::args::DocumentArguments;
use super::exit::Exit;
use super::{diagnostics, includes};
use borges_babel::Languages;
use borges_config::Config;
use borges_plan::PlanOptions;

/// A document, and what is asked of it.
pub(super) struct Input {
    /// As it was typed.
    pub(super) name: String,
    /// As it lies there.
    pub(super) written: Bytes,
    /// With the files put in that it names.
    pub(super) source: Bytes,
    pub(super) config: Config,
    /// What is asked of it.
    pub(super) request: PlanOptions,
}

/// Reads what the arguments name; says what is wrong with it.
pub(super) fn read(arguments: &DocumentArguments) -> Result<Input, Exit> {
    let setupfile = arguments.setupfile.as_deref();
    let config = setupfile.map_or_else(default_config, config)?;
    let languages = languages(&config, setupfile)?;
    let (name, written) = (shown(&arguments.path), Bytes::from(contents(&arguments.path)?));
    let directory = directory(&arguments.path).map_err(|error| {
        eprintln!("{name}: its directory cannot be found: {error}");
        Exit::InvalidInput
    })?;
    let (source, places) = includes::resolve_includes(&name, &arguments.path, &written)?;
    let request = PlanOptions {
        names: arguments.names.clone(),
        languages,
        variables: Vec::new(),
        emacs_compatible: false,
        approval_available: false,
        directory: Some(directory),
        home: env::var("HOME").ok(),
        files_read: true,
        source_map: places,
    };
    Ok(Input { name, written, source: source.into(), config, request })
}

/// A file's bytes; `-` is stdin.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, Exit> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::IsADirectory => "it is a directory; name an Org document".to_owned(),
            ErrorKind::PermissionDenied => "it may not be read".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        eprintln!("{}: error: {why}", shown(path));
        Exit::InvalidInput
    })
}

pub(super) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

/// What a setupfile says, and the environment.
pub(super) fn config(path: &Path) -> Result<Config, Exit> {
    configured(&shown(path), &contents(path)?)
}

/// What holds without a setupfile.
pub(super) fn default_config() -> Result<Config, Exit> {
    configured("the environment", b"")
}

/// The table of languages, with those of the setupfile.
pub(super) fn languages(config: &Config, setupfile: Option<&Path>) -> Result<Languages, Exit> {
    let mut languages = Languages::default();
    for (value, at) in &config.languages {
        if let Err(bad) = languages.add(value) {
            let file = setupfile.unwrap_or(Path::new("BORGES_LANG")).display();
            eprintln!("{file}:{}:{}: error: {bad}", at.line, at.column);
            return Err(Exit::InvalidInput);
        }
    }
    Ok(languages)
}

/// The setupfile, overridden by the environment.
fn configured(name: &str, setupfile: &[u8]) -> Result<Config, Exit> {
    // A variable that is no text cannot be one of ours.
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::read(setupfile, environment).map_err(|errors| {
        for error in errors {
            diagnostics::show_config_error(name, setupfile, &error);
        }
        Exit::InvalidInput
    })
}

/// Where a document's blocks start: the directory it lies in.
fn directory(document: &Path) -> io::Result<String> {
    let parent = match document.parent() {
        Some(parent) if document != Path::new("-") && parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let absolute = fs::canonicalize(parent)?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "its name is no text"))
}
