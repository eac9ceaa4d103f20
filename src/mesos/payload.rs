//! The files that lie in a sandbox before its block starts, and which of them it reads: what `TaskInfo.data` holds.
//!
//! A message like those of Mesos, so that a later Borges may add to it what an agent that runs still does not know.

use std::path::{Component, Path};

use bytes::Bytes;
use prost::Message;

use borges_task::Command;

/// What is sent along with a launch.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskPayload {
    /// Files, none of them twice.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<PayloadFile>,
    /// The file of the sandbox that is the block's standard input; `None` is an empty input.
    #[prost(string, optional, tag = "2")]
    pub stdin: Option<String>,
}

/// A file of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PayloadFile {
    /// Where it lies, seen from the sandbox.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its permissions.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// What it holds.
    #[prost(bytes = "bytes", tag = "3")]
    pub content: Bytes,
}

/// The permissions of a body: it may be a program, and is nobody else's business.
const BODY_MODE: u32 = 0o700;

/// Those of a body that is only read: an agent has a process less to start.
const READ_MODE: u32 = 0o600;

/// What reads the file that is its first argument; anything else (`nice`, `env`) might execute it.
const READERS: [&str; 12] =
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "python3", "perl", "ruby", "node", "lua"];

/// What a cluster itself puts into a sandbox.
const TAKEN: [&str; 5] = ["stdout", "stderr", "block/stdout", "block/stderr", "block/exit"];

impl TaskPayload {
    /// A body and nothing beside it.
    pub fn body(body: impl Into<Bytes>) -> Self {
        let body = PayloadFile { path: Command::BODY.to_owned(), mode: BODY_MODE, content: body.into() };
        Self { files: vec![body], stdin: None }
    }

    /// What a command needs in its sandbox.
    pub fn of(command: &Command) -> Self {
        let mut parcel = Self { stdin: command.stdin.clone(), ..Self::body(command.body.clone()) };
        let is_first = command.arguments.first().is_some_and(|word| word == Command::BODY);
        if is_first && READERS.contains(&&*command.program) {
            parcel.files[0].mode = READ_MODE;
        }
        parcel.files.extend(command.files.iter().map(|file| PayloadFile {
            path: file.path.clone(),
            mode: file.mode,
            content: file.bytes.clone(),
        }));
        parcel
    }

    /// As it is sent.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads what was sent. An error says what is wrong with it; a parcel that is right leads to no place outside
    /// the sandbox.
    pub fn from_bytes(data: Bytes) -> Result<Self, String> {
        let parcel = Self::decode(data).map_err(|error| format!("the task's data is no parcel: {error}"))?;
        let paths = parcel.files.iter().map(|file| &file.path).chain(&parcel.stdin);
        if let Some(path) = paths.into_iter().find(|path| !is_contained_path(path)) {
            return Err(format!("`{path}` is not the path of a file within a sandbox"));
        }
        let taken = |path: &String| TAKEN.contains(&path.as_str());
        if let Some(file) = parcel.files.iter().find(|file| taken(&file.path)) {
            return Err(format!("`{}` is a file of the sandbox's own", file.path));
        }
        Ok(parcel)
    }
}

/// Whether a path leads to a file below where it is seen from, whatever lies there: relative, nothing but names.
pub fn is_contained_path(path: &str) -> bool {
    let plain = |component: Component| matches!(component, Component::Normal(_));
    !path.is_empty()
        && !path.contains('\0')
        && !path.ends_with('/')
        && Path::new(path).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_task::InputFile;

    fn with(path: &str) -> Command {
        let file = InputFile { path: path.to_owned(), mode: 0o644, bytes: Bytes::from_static(b"a\tb\n\xff") };
        Command { body: Bytes::from_static(b"cat"), files: vec![file], ..Command::default() }
    }

    #[test]
    fn what_is_sent_is_what_is_opened() {
        let command = Command { stdin: Some("in/a.tsv".into()), ..with("in/a.tsv") };
        let parcel = TaskPayload::from_bytes(TaskPayload::of(&command).to_bytes()).unwrap();
        assert_eq!(parcel.stdin.as_deref(), Some("in/a.tsv"));
        let files: Vec<_> = parcel.files.iter().map(|f| (f.path.as_str(), f.mode, &f.content[..])).collect();
        assert_eq!(files, [("block/body", 0o700, &b"cat"[..]), ("in/a.tsv", 0o644, b"a\tb\n\xff")]);
        assert_eq!(TaskPayload::from_bytes(Bytes::new()).unwrap(), TaskPayload::default());
    }

    #[test]
    fn a_body_is_executable_unless_it_is_surely_read() {
        let mode = |program: &str, arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let command = Command { program: program.into(), arguments: arguments.into(), ..with("x") };
            TaskPayload::of(&command).files[0].mode
        };
        assert_eq!(mode("sh", &["block/body"]), 0o600);
        assert_eq!(mode("python3", &["block/body", "-v"]), 0o600);
        for (program, arguments) in
            [("block/body", &[][..]), ("nice", &["block/body"]), ("sh", &["-c", "block/body"])]
        {
            assert_eq!(mode(program, arguments), 0o700, "{program}");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_sandbox() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "./x", "", "a/", "a\0b"] {
            let error = TaskPayload::from_bytes(TaskPayload::of(&with(bad)).to_bytes()).unwrap_err();
            assert_eq!(error, format!("`{bad}` is not the path of a file within a sandbox"));
            let reads = Command { stdin: Some(bad.to_owned()), ..with("x") };
            assert!(TaskPayload::from_bytes(TaskPayload::of(&reads).to_bytes()).is_err());
        }
        for taken in TAKEN {
            let error = TaskPayload::from_bytes(TaskPayload::of(&with(taken)).to_bytes()).unwrap_err();
            assert_eq!(error, format!("`{taken}` is a file of the sandbox's own"));
        }
        assert!(TaskPayload::from_bytes(Bytes::from_static(b"true\n")).unwrap_err().contains("no parcel"));
    }
}
