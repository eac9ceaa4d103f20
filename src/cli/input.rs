//! Reads documents, setupfiles and the environment, and prints an error for each that it cannot read.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use bytes::Bytes;

use super::args::DocumentArgs;
use super::exit::Exit;
use super::{diagnostics, includes};
use borges_babel::Languages;
use borges_config::Config;
use borges_plan::PlanOptions;

/// A document with its configuration and its plan options.
pub(super) struct Input {
    /// The path as given on the command line; `stdin` for `-`.
    pub(super) name: String,
    /// The bytes of the file.
    pub(super) written: Bytes,
    /// The text with its includes and setupfiles inserted.
    pub(super) source: Bytes,
    pub(super) config: Config,
    /// How to plan the document.
    pub(super) request: PlanOptions,
}

/// Reads the document and the setupfile of the arguments. Prints the error if one of them is invalid.
pub(super) fn read(arguments: &DocumentArgs) -> Result<Input, Exit> {
    let setupfile = arguments.setupfile.as_deref();
    let config = setupfile.map_or_else(default_config, config)?;
    let languages = languages(&config, setupfile)?;
    let (name, written) = (display_name(&arguments.path), Bytes::from(contents(&arguments.path)?));
    let directory = directory_of(&arguments.path).map_err(|error| {
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
    let contents = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    contents.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::IsADirectory => "it is a directory; name an Org document".to_owned(),
            ErrorKind::PermissionDenied => "it may not be read".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        eprintln!("{}: error: {why}", display_name(path));
        Exit::InvalidInput
    })
}

/// The name of a document in messages.
pub(super) fn display_name(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

/// The configuration of a setupfile and the environment.
pub(super) fn config(path: &Path) -> Result<Config, Exit> {
    read_config(&display_name(path), &contents(path)?)
}

/// The configuration without a setupfile: the defaults and the environment.
pub(super) fn default_config() -> Result<Config, Exit> {
    read_config("the environment", b"")
}

/// The known languages, including those of the setupfile.
pub(super) fn languages(config: &Config, setupfile: Option<&Path>) -> Result<Languages, Exit> {
    let mut languages = Languages::default();
    for (value, at) in &config.languages {
        if let Err(error) = languages.add(value) {
            let file = setupfile.unwrap_or(Path::new("BORGES_LANG")).display();
            eprintln!("{file}:{}:{}: error: {error}", at.line, at.column);
            return Err(Exit::InvalidInput);
        }
    }
    Ok(languages)
}

/// The setupfile, overridden by the environment.
fn read_config(name: &str, setupfile: &[u8]) -> Result<Config, Exit> {
    // The variables of Borges are valid UTF-8, so others can be left out.
    let environment = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::read(setupfile, environment).map_err(|errors| {
        for error in errors {
            diagnostics::show_config_error(name, setupfile, &error);
        }
        Exit::InvalidInput
    })
}

/// The directory of a document, in which its blocks start.
fn directory_of(document: &Path) -> io::Result<String> {
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
