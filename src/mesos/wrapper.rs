//! Wraps a task in the shell script that Mesos' command executor runs.
//!
//! The executor knows commands, not blocks. So a script in plain `sh` puts the files into the sandbox, runs the block with
//! its own input, output and environment, survives the SIGTERM that is meant for the block, and writes the exit code.

use std::fmt::Write;

use super::messages::{CommandInfo, Environment, TaskInfo, command_info::Uri};
use super::payload::{PayloadFile, TaskPayload};
use super::task_info::DIRECTORY_LABEL;
use borges_task::{LaunchId, UrlSigner};

/// The addresses from which agents fetch files that are too large for a launch's command.
#[derive(Debug, Clone)]
pub struct FetchUrls {
    base_url: String,
    signer: UrlSigner,
}

impl FetchUrls {
    /// Files at addresses below `base_url` (`http://HOST:PORT`), signed by `signer`.
    pub fn new(base_url: impl Into<String>, signer: UrlSigner) -> Self {
        Self { base_url: base_url.into(), signer }
    }

    fn address(&self, launch: LaunchId, file: usize) -> String {
        format!("{}/launches/{launch}/{file}?seal={}", self.base_url, self.signer.sign(launch, file))
    }
}

/// The most bytes that all files of a launch may take within its command; one argument of a program may have
/// 128 KiB.
const MAX_INLINE: usize = 96 << 10;

/// The permission bits of a mode.
const MODE_MASK: u32 = 0o7777;

/// The mode that a shell gives to a new file, before the umask.
const CREATION_MODE: u32 = 0o666;

/// Until the block can run. The sandbox is where the executor starts us, but a container need not start there.
const PROLOGUE: &str = r#"cd "$MESOS_SANDBOX" || exit 126
echo "The block's output is in block/stdout and block/stderr."
"#;

/// From the files in their places to the moment before the block: `$borges_directory`, `$borges_input` and the words of
/// its command are set. Whom `/` belongs to needs no other process to be asked who it is.
const PREPARE: &str = r#"
borges_box=$MESOS_SANDBOX/block borges_path=$PATH borges_setsid=/usr/bin/setsid
: "${LANG:=C.UTF-8}" "${TZ:=UTC}"
[ -n "$HOME" ] || { [ -O / ] && HOME=~root; } || HOME=$(eval "echo ~$(id -un)")
export LANG TZ HOME
: >"$borges_box/stdout" >"$borges_box/stderr"
fail() {
  echo "borges: $2" | tee -a "$borges_box/stderr" >&2
  echo "$1" >"$borges_box/exit"
  exit "$1"
}
cd "$borges_directory" 2>/dev/null || fail 126 "the working directory \`$borges_directory\` does not exist"
[ -r "$borges_input" ] || fail 126 "\`$borges_input\` cannot be read"
[ -x "$borges_setsid" ] || borges_setsid=$(command -v setsid)
"#;

/// Checks that the program exists.
const CHECK_PROGRAM: &str = r#"case $1 in
  */*) ;;
  *) command -v "$1" >/dev/null || fail 127 "\`$1\` is not installed on this machine: not found on PATH $PATH" ;;
esac
"#;

/// Runs the block as a process. It stays in the foreground, or it would ignore SIGINT; a trap that is not empty, or it
/// would inherit that; who is told to end just before it begins does not begin. A shell between keeps what the outer
/// one says of signals out of the block's own output; it tells its id, which is the block's and its process group's,
/// and is no leader yet, so that `setsid` needs no child. The executor signals the block as well as us. What it leaves
/// behind in its process group is killed, and its end is ours: the status then tells the signal.
const PROCESS: &str = r#"borges_told=
trap borges_told=1 TERM
if [ -n "$borges_setsid" ]; then
  borges_group=$(
    [ -z "$borges_told" ] || exit 143
    read -r borges_own borges_rest </proc/self/stat && echo "$borges_own"
    exec "$borges_setsid" "$@" <"$borges_input" >"$borges_box/stdout" 2>"$borges_box/stderr"
  )
  borges_code=$?
  [ -z "$borges_group" ] || kill -KILL "-$borges_group" 2>/dev/null
else
  ([ -z "$borges_told" ] || exit 143; exec "$@" <"$borges_input" >"$borges_box/stdout" 2>"$borges_box/stderr")
  borges_code=$?
fi
echo "$borges_code" >"$borges_box/exit"
case $borges_code in
  129 | 130 | 131 | 132 | 134 | 135 | 136 | 137 | 139 | 141 | 142 | 143)
    ulimit -c 0
    trap - TERM
    kill "-$((borges_code - 128))" "$$"
    ;;
esac
exit "$borges_code"
"#;

/// Runs the block within a container. The first process there may signal all others, and must: nobody else
/// does.
const CONTAINER: &str = r#"trap 'kill -TERM -1; kill -CONT -1' TERM
(
  trap : TERM
  (exec "$@" <"$borges_input" >"$borges_box/stdout" 2>"$borges_box/stderr")
  echo "$?" >"$borges_box/.code"
) &
while wait "$!"; borges_code=$?; [ "$borges_code" -gt 128 ] && kill -0 "$!" 2>/dev/null; do :; done
[ ! -s "$borges_box/.code" ] || read -r borges_code <"$borges_box/.code"
echo "$borges_code" >"$borges_box/exit"
PATH=$borges_path
rm -f "$borges_box/.code"
exit "$borges_code"
"#;

/// Wraps a task's command for the command executor. Files that are too large are fetched from `fetch_urls`.
///
/// A task whose id is not a launch id stays unchanged.
pub(super) fn wrap(mut task: TaskInfo, fetch_urls: &FetchUrls) -> TaskInfo {
    let Ok(launch) = task.task_id.value.parse::<LaunchId>() else { return task };
    let Some(Ok(payload)) = task.data.clone().map(TaskPayload::from_bytes) else { return task };
    let Some(command) = task.command.take() else { return task };
    task.data = None;
    let labels = task.labels.iter().flat_map(|labels| &labels.labels);
    let directory = labels.filter(|label| label.key == DIRECTORY_LABEL).find_map(|label| label.value.clone());
    let is_container = task.container.is_some();
    let FileDelivery { script: files, texts, uris } =
        deliver_files(&payload.files, launch, is_container, fetch_urls);

    let CommandInfo { arguments, environment, value, .. } = command;
    let mut variables = environment.map(|environment| environment.variables).unwrap_or_default();
    // The script needs the agent's own until the block begins.
    let path = variables.iter().rev().find(|variable| variable.name == "PATH").and_then(|v| v.value.clone());
    variables.retain(|variable| variable.name != "PATH");

    let mut script = format!("{PROLOGUE}{files}");
    let is_own =
        |word: &str| word.starts_with("block/") && payload.files.iter().any(|file| file.path == word);
    let word = |word: &str, is_path: bool| match directory {
        Some(_) if is_path && !word.starts_with('/') => sandbox_path(word),
        _ => shell_quoted(word),
    };
    let program = value.unwrap_or_default();
    let mut words = vec![word(&program, program.contains('/'))];
    words.extend(arguments.iter().skip(1).map(|argument| word(argument, is_own(argument))));
    let _infallible = writeln!(script, "set -- {}", words.join(" "));
    let directory = directory.as_deref().map_or_else(|| ".".to_owned(), shell_quoted);
    let input = payload.stdin.as_deref().map_or_else(|| "/dev/null".to_owned(), sandbox_path);
    let _infallible = write!(script, "borges_directory={directory} borges_input={input}{PREPARE}");
    if let Some(path) = path {
        let _infallible = writeln!(script, "export PATH={}", shell_quoted(&path));
    }
    script.push_str(CHECK_PROGRAM);
    script.push_str(if is_container { CONTAINER } else { PROCESS });

    let environment = Some(Environment { variables });
    task.command = Some(if is_container {
        // Only a line for the shell passes by the image's own entry point.
        let texts: Vec<String> = texts.iter().map(|text| shell_quoted(text)).collect();
        let value = Some(format!("set -- {}\n{script}", texts.join(" ")));
        CommandInfo { shell: Some(true), value, uris, environment, ..CommandInfo::default() }
    } else {
        let arguments = ["sh".to_owned(), "-c".to_owned(), script, "borges".to_owned()];
        CommandInfo {
            shell: Some(false),
            value: Some("/bin/sh".to_owned()),
            arguments: arguments.into_iter().chain(texts).collect(),
            uris,
            environment,
            ..CommandInfo::default()
        }
    });
    task
}

/// How a payload's files get into the sandbox.
struct FileDelivery {
    /// What writes those that are sent along.
    script: String,
    /// What it writes, in the order of its parameters.
    texts: Vec<String>,
    /// Those that are fetched.
    uris: Vec<Uri>,
}

fn deliver_files(
    files: &[PayloadFile],
    launch: LaunchId,
    is_container: bool,
    fetch_urls: &FetchUrls,
) -> FileDelivery {
    let mut delivery =
        FileDelivery { script: "mkdir -p block".to_owned(), texts: Vec::new(), uris: Vec::new() };
    let directories = files.iter().filter_map(|file| Some(file.path.rsplit_once('/')?.0));
    let mut directories: Vec<&str> = directories.filter(|directory| *directory != "block").collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        let _infallible = write!(delivery.script, " {}", shell_quoted(&format!("./{directory}")));
    }
    // A file is created with its permissions, by the mask, where it is no program: a process less.
    delivery.script.push_str("\nborges_mask=$(umask)\n");
    let mut remaining = MAX_INLINE;
    for (number, file) in files.iter().enumerate() {
        let path = shell_quoted(&format!("./{}", file.path));
        let (format, text) = printf_argument(&file.content);
        let size = if is_container { shell_quoted(&text).len() } else { text.len() };
        let mode = file.mode & MODE_MASK;
        let is_inline = size <= remaining;
        if is_inline {
            remaining -= size;
            delivery.texts.push(text);
            let (parameter, mask) = (delivery.texts.len(), CREATION_MODE & !mode);
            let _infallible =
                writeln!(delivery.script, "umask {mask:03o}; printf {format} \"${{{parameter}}}\" >{path}");
        } else {
            delivery.uris.push(Uri {
                value: fetch_urls.address(launch, number),
                extract: Some(false),
                output_file: Some(file.path.clone()),
                ..Uri::default()
            });
        }
        if !is_inline || mode & !CREATION_MODE != 0 {
            let _infallible = writeln!(delivery.script, "chmod {mode:o} {path}");
        }
    }
    delivery.script.push_str("umask \"$borges_mask\"\n");
    delivery
}

/// A `printf` format and argument that produce these bytes. Text is passed unchanged, other bytes are escaped.
fn printf_argument(bytes: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => ("%s", text.to_owned()),
        _ => {
            let mut text = String::with_capacity(bytes.len() * 2);
            for &byte in bytes {
                match byte {
                    b'\\' => text.push_str("\\\\"),
                    b'\n' | b'\t' | b' '..=b'~' => text.push(char::from(byte)),
                    _ => {
                        let _infallible = write!(text, "\\0{byte:03o}");
                    }
                }
            }
            ("%b", text)
        }
    }
}

/// Quotes a word for the shell.
fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A shell expression for the absolute path of a sandbox file.
fn sandbox_path(path: &str) -> String {
    format!("\"$MESOS_SANDBOX\"/{}", shell_quoted(path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command as Process, Output};

    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::task_info;
    use super::*;
    use borges_placement::Agent;
    use borges_task::{Command, InputFile, Policy, Resources, RunId, TaskSpec};

    fn fetch_urls() -> FetchUrls {
        FetchUrls::new("http://10.0.0.1:8888", UrlSigner::new(b"secret"))
    }

    fn task(command: Command) -> TaskInfo {
        let spec = TaskSpec {
            number: 1,
            block: "a".into(),
            line: 1,
            index: 1,
            command,
            resources: Resources::default(),
            policy: Policy::default().into(),
            requires_approval: false,
            enforce_memory: false,
            requirements: None,
        };
        task_info::task_info(
            RunId(Uuid::from_u128(1)).task(1).launch(1),
            &spec,
            &Agent::default(),
            &[],
            Vec::new(),
        )
    }

    fn sh(body: &str) -> Command {
        Command {
            program: "sh".into(),
            arguments: vec!["block/body".to_owned()].into(),
            body: Bytes::from(body.to_owned()),
            ..Command::default()
        }
    }

    /// What a wrapped command does where it is run by `shell`.
    fn run_wrapped(shell: &[&str], command: Command, sandbox: &Path) -> Output {
        let command = wrap(task(command), &fetch_urls()).command.unwrap();
        assert!(command.uris.is_empty());
        let mut process = Process::new(shell[0]);
        process.args(&shell[1..]).args(&command.arguments[1..]).current_dir(sandbox);
        process.env("MESOS_SANDBOX", sandbox);
        for variable in command.environment.unwrap().variables {
            process.env(variable.name, variable.value.unwrap());
        }
        process.output().unwrap()
    }

    fn read(sandbox: &Path, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(sandbox.join(name)).unwrap_or_default()).into_owned()
    }

    const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "sh"]];

    #[test]
    fn every_shell_runs_the_block_as_promised() {
        for shell in SHELLS {
            let directory = tempfile::tempdir().unwrap();
            let sandbox = directory.path();
            let bytes: Vec<u8> = (0..=255).collect();
            let file = |path: &str, mode, bytes: &[u8]| InputFile {
                path: path.to_owned(),
                mode,
                bytes: Bytes::copy_from_slice(bytes),
            };
            let command = Command {
                files: vec![
                    file("in/it's.bin", 0o640, &bytes),
                    file("in/text", 0o600, "%s \\n é\n\n".as_bytes()),
                ],
                stdin: Some("in/text".to_owned()),
                environment: vec![
                    ("A".into(), "two 'words'".into()),
                    ("code".into(), "own".into()),
                    ("input".into(), "own".into()),
                    ("directory".into(), "own".into()),
                    ("mask".into(), "own".into()),
                    ("PATH".into(), "/bin:/usr/bin:/x".into()),
                ]
                .into(),
                ..sh(
                    "cat; echo \"$A|$PATH|$LANG|$0|$code$input$directory$mask\"; echo wrong >&2; sleep 1000 & exit 3",
                )
            };
            let output = run_wrapped(shell, command, sandbox);
            assert_eq!(output.status.code(), Some(3), "{shell:?} {output:?}");
            assert_eq!(std::fs::read(sandbox.join("in/it's.bin")).unwrap(), bytes, "{shell:?}");
            assert_eq!(
                read(sandbox, "block/stdout"),
                "%s \\n é\n\ntwo 'words'|/bin:/usr/bin:/x|C.UTF-8|block/body|ownownownown\n",
                "{shell:?}"
            );
            assert_eq!(read(sandbox, "block/stderr"), "wrong\n");
            assert_eq!(read(sandbox, "block/exit"), "3\n");
            let names =
                std::fs::read_dir(sandbox.join("block")).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(names.count(), 4, "body, stdout, stderr, exit: {shell:?}");
        }
    }

    #[test]
    fn exit_statuses_are_those_of_the_block() {
        use std::os::unix::process::ExitStatusExt;
        for shell in SHELLS {
            let outcome = |command: Command| {
                let directory = tempfile::tempdir().unwrap();
                let output = run_wrapped(shell, command, directory.path());
                let (code, stderr) =
                    (read(directory.path(), "block/exit"), read(directory.path(), "block/stderr"));
                (output.status.code(), output.status.signal(), code, stderr)
            };
            assert_eq!(
                outcome(sh("kill -9 $$")),
                (None, Some(9), "137\n".into(), String::new()),
                "{shell:?}"
            );
            assert_eq!(outcome(sh("kill -TERM $$")).2, "143\n", "{shell:?}");
            assert_eq!(outcome(sh("trap 'exit 5' INT; kill -INT $$; sleep 5")).2, "5\n", "{shell:?}");
            let missing = outcome(Command { program: "no-such".into(), ..sh("") });
            assert_eq!((missing.0, missing.2.as_str()), (Some(127), "127\n"));
            assert!(
                missing.3.starts_with("borges: `no-such` is not installed on this machine"),
                "{}",
                missing.3
            );
            let nowhere = outcome(Command { directory: Some("no'where".into()), ..sh("") });
            assert_eq!(nowhere.2, "126\n");
            assert_eq!(nowhere.3, "borges: the working directory `no'where` does not exist\n");
            let elsewhere = outcome(Command { directory: Some("/".into()), ..sh("pwd >&2") });
            assert_eq!((elsewhere.2.as_str(), elsewhere.3.as_str()), ("0\n", "/\n"), "{shell:?}");
        }
    }

    #[test]
    fn large_files_are_fetched() {
        let wrapped = |body: String| wrap(task(sh(&body)), &fetch_urls());
        let inline = wrapped("#".repeat(64 << 10));
        assert!(inline.command.unwrap().uris.is_empty());
        let large = wrapped("#".repeat(2 << 20));
        assert_eq!(large.data, None);
        let command = large.command.unwrap();
        assert_eq!(command.arguments.len(), 4);
        let uri = &command.uris[0];
        assert_eq!((uri.output_file.as_deref(), uri.extract), (Some("block/body"), Some(false)));
        assert!(
            uri.value.starts_with(
                "http://10.0.0.1:8888/launches/00000000-0000-0000-0000-000000000001.1.1/0?seal="
            )
        );
        let image = Command { image: Some("redis".into()), ..sh("echo it's") };
        let command = wrap(task(image), &fetch_urls()).command.unwrap();
        assert_eq!(command.shell, Some(true));
        assert!(command.value.unwrap().starts_with("set -- 'echo it'\\''s'\ncd "));
    }
}
