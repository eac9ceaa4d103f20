//! The data types of running a block: its source, what is run for it, and what it leaves.
//!
//! The value of a block is the file `block/value` of its sandbox, which the code around the body writes. What the block
//! prints is its standard output, and nothing else.

use super::arguments::Arguments;
use super::byte_text;
use super::colnames;
use super::import::{self, Separator};
use super::languages::Language;
use super::value::Value;

/// Where a block's value lies, seen from the sandbox.
pub const VALUE: &str = "block/value";

/// Where a block's code lies, seen from the sandbox.
pub const BODY: &str = "block/body";

/// A block that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its language's row.
    pub language: &'a Language,
    /// Its code, references expanded; see [`super::byte_text::decode`].
    pub body: &'a str,
    /// Its header arguments.
    pub arguments: &'a Arguments,
    /// Its variables with their values, references resolved, in the order of its `:var`s; tables with all their rules
    /// and names.
    pub variables: &'a [(String, Value)],
    /// What `:stdin` refers to, if it is there.
    pub stdin: Option<&'a Value>,
}

/// A file of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Seen from the sandbox; all begin with `block/`.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What is to be run for a block.
///
/// An argument that is the path of one of its files, or of the body, means that file wherever the block starts;
/// `MESOS_SANDBOX` must be set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// A program's name, looked up on `PATH`.
    pub program: String,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// What [`BODY`] holds; it may be executed.
    pub body: Vec<u8>,
    /// The other files.
    pub files: Vec<File>,
    /// The file of the sandbox that is its standard input; without one it is empty.
    pub stdin: Option<String>,
}

/// What a block left behind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Execution<'a> {
    /// Its exit code.
    pub exit_code: i32,
    /// What it printed.
    pub stdout: &'a [u8],
    /// What [`VALUE`] holds, if it is there.
    pub value: Option<&'a [u8]>,
}

/// A block whose variables have lost what is taken off them.
#[derive(Clone, Copy)]
pub(super) struct Expansion<'a> {
    pub(super) language: &'a Language,
    pub(super) body: &'a str,
    pub(super) arguments: &'a Arguments,
    pub(super) variables: &'a [(String, Value)],
    pub(super) names: &'a colnames::TableHeaders,
    pub(super) stdin: Option<&'a Value>,
}

const NO_NAMES: &colnames::TableHeaders = &colnames::TableHeaders { columns: Vec::new(), rows: Vec::new() };

impl<'a> Expansion<'a> {
    pub(super) fn of(source: &Source<'a>) -> Self {
        let Source { language, body, arguments, variables, stdin } = *source;
        Self { language, body, arguments, variables, names: NO_NAMES, stdin }
    }

    /// `:prologue`, lines that set the variables, the body, `:epilogue`.
    pub(super) fn expanded_body(&self, lines: impl IntoIterator<Item = String>) -> String {
        let prologue = self.arguments.text(":prologue");
        let epilogue = self.arguments.text(":epilogue");
        let parts: Vec<String> =
            prologue.into_iter().chain(lines).chain([self.body.to_owned()]).chain(epilogue).collect();
        parts.join("\n")
    }

    /// `:prologue`, the body and `:epilogue` of a language whose variables come otherwise.
    pub(super) fn wrap_body(&self) -> String {
        let mut out = String::new();
        if let Some(prologue) = self.arguments.text(":prologue") {
            out += &prologue;
            out.push('\n');
        }
        out += self.body;
        if let Some(epilogue) = self.arguments.text(":epilogue") {
            out.push('\n');
            out += &epilogue;
            out.push('\n');
        }
        out
    }

    /// The program and its first arguments: what `key` says, or the language's row.
    pub(super) fn command(&self, key: &str) -> (String, Vec<String>) {
        let command = self.arguments.text(key).and_then(|command| {
            let mut words = command.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.collect()))
        });
        command.unwrap_or_else(|| (self.language.program.clone(), self.language.arguments.clone()))
    }

    /// With the names put back that were taken off.
    pub(super) fn restore_names(&self, value: Value) -> Value {
        colnames::restore(value, self.names, self.arguments)
    }

    /// A text as it is, or made a table, as `:results` says.
    pub(super) fn imported(&self, text: &str) -> Value {
        self.scalar_or(text, || import::table(text, Separator::Auto))
    }

    /// A text as it is where `:results` wants one, or what is made of it otherwise.
    pub(super) fn scalar_or(&self, text: &str, read: impl FnOnce() -> Value) -> Value {
        if self.arguments.results().is_scalar() { Value::text(text) } else { read() }
    }
}

impl Invocation {
    /// Runs `code` as a file of its own.
    pub(super) fn script(program: String, mut arguments: Vec<String>, code: &str) -> Self {
        arguments.push(BODY.to_owned());
        Self { program, arguments, body: byte_text::encode(code), ..Self::default() }
    }

    /// With a file more.
    pub(super) fn with(mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Self {
        self.files.push(File { path: path.to_owned(), mode, bytes });
        self
    }
}

impl Execution<'_> {
    /// What it printed.
    pub(super) fn printed(&self) -> String {
        byte_text::decode(self.stdout)
    }

    /// Its value as it wrote it; empty where it wrote none.
    pub(super) fn written(&self) -> String {
        with_unix_newlines(byte_text::decode(self.value.unwrap_or_default()))
    }
}

/// A file as Emacs reads it: where all lines end in CRLF, they end in a newline.
fn with_unix_newlines(text: String) -> String {
    let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    if newlines > 0 && text.matches("\r\n").count() == newlines { text.replace("\r\n", "\n") } else { text }
}
