//! The payload of a launch, sent as `TaskInfo.data`: the files to put into the sandbox, and the standard input.
//!
//! It is a protobuf message, so that later versions can add fields that running agents ignore.

use std::path::{Component, Path};

use bytes::Bytes;
use prost::Message;

use borges_task::Command;

/// The files and the standard input that are sent with a launch.
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

/// Mode of the body file: executable, owner only.
const BODY_MODE: u32 = 0o700;

/// Mode of a body that an interpreter reads: agents then need no `chmod`.
const READ_ONLY_MODE: u32 = 0o600;

/// Programs that read the file of their first argument. Other programs (`nice`, `env`) might execute it.
const INTERPRETERS: [&str; 12] =
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "python3", "perl", "ruby", "node", "lua"];

/// Paths that the cluster itself writes in a sandbox.
const RESERVED: [&str; 5] = ["stdout", "stderr", "block/stdout", "block/stderr", "block/exit"];

impl TaskPayload {
    /// A payload with only a body.
    pub fn body(body: impl Into<Bytes>) -> Self {
        let body = PayloadFile { path: Command::BODY.to_owned(), mode: BODY_MODE, content: body.into() };
        Self { files: vec![body], stdin: None }
    }

    /// The payload of a command: its body, its files and its standard input.
    pub fn of(command: &Command) -> Self {
        let mut payload = Self { stdin: command.stdin.clone(), ..Self::body(command.body.clone()) };
        let is_first = command.arguments.first().is_some_and(|word| word == Command::BODY);
        if is_first && INTERPRETERS.contains(&&*command.program) {
            payload.files[0].mode = READ_ONLY_MODE;
        }
        payload.files.extend(command.files.iter().map(|file| PayloadFile {
            path: file.path.clone(),
            mode: file.mode,
            content: file.bytes.clone(),
        }));
        payload
    }

    /// The encoded payload.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Decodes a payload. `Err` says what is wrong. All paths of a decoded payload lie within the sandbox.
    pub fn from_bytes(data: Bytes) -> Result<Self, String> {
        let payload = Self::decode(data).map_err(|error| format!("the task's data is no parcel: {error}"))?;
        let paths = payload.files.iter().map(|file| &file.path).chain(&payload.stdin);
        if let Some(path) = paths.into_iter().find(|path| !is_contained_path(path)) {
            return Err(format!("`{path}` is not the path of a file within a sandbox"));
        }
        let is_reserved = |path: &String| RESERVED.contains(&path.as_str());
        if let Some(file) = payload.files.iter().find(|file| is_reserved(&file.path)) {
            return Err(format!("`{}` is a file of the sandbox's own", file.path));
        }
        Ok(payload)
    }
}

/// Whether a path leads to a file below where it is seen from, whatever lies there: relative, nothing but names.
pub(crate) fn is_contained_path(path: &str) -> bool {
    let is_normal = |component: Component| matches!(component, Component::Normal(_));
    !path.is_empty()
        && !path.contains('\0')
        && !path.ends_with('/')
        && Path::new(path).components().all(is_normal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_task::InputFile;

    fn command_with_file(path: &str) -> Command {
        let file = InputFile { path: path.to_owned(), mode: 0o644, bytes: Bytes::from_static(b"a\tb\n\xff") };
        Command { body: Bytes::from_static(b"cat"), files: vec![file], ..Command::default() }
    }

    #[test]
    fn payload_round_trips_through_bytes() {
        let command = Command { stdin: Some("in/a.tsv".into()), ..command_with_file("in/a.tsv") };
        let payload = TaskPayload::from_bytes(TaskPayload::of(&command).to_bytes()).unwrap();
        assert_eq!(payload.stdin.as_deref(), Some("in/a.tsv"));
        let files: Vec<_> = payload.files.iter().map(|f| (f.path.as_str(), f.mode, &f.content[..])).collect();
        assert_eq!(files, [("block/body", 0o700, &b"cat"[..]), ("in/a.tsv", 0o644, b"a\tb\n\xff")]);
        assert_eq!(TaskPayload::from_bytes(Bytes::new()).unwrap(), TaskPayload::default());
    }

    #[test]
    fn body_is_executable_unless_an_interpreter_reads_it() {
        let mode = |program: &str, arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let command =
                Command { program: program.into(), arguments: arguments.into(), ..command_with_file("x") };
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
    fn paths_outside_the_sandbox_are_rejected() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "./x", "", "a/", "a\0b"] {
            let error =
                TaskPayload::from_bytes(TaskPayload::of(&command_with_file(bad)).to_bytes()).unwrap_err();
            assert_eq!(error, format!("`{bad}` is not the path of a file within a sandbox"));
            let command = Command { stdin: Some(bad.to_owned()), ..command_with_file("x") };
            assert!(TaskPayload::from_bytes(TaskPayload::of(&command).to_bytes()).is_err());
        }
        for path in RESERVED {
            let error =
                TaskPayload::from_bytes(TaskPayload::of(&command_with_file(path)).to_bytes()).unwrap_err();
            assert_eq!(error, format!("`{path}` is a file of the sandbox's own"));
        }
        assert!(TaskPayload::from_bytes(Bytes::from_static(b"true\n")).unwrap_err().contains("no parcel"));
    }
}
