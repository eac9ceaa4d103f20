//! The arguments of `docker create` for a launch, and the shell wrapper that runs the block in the container (pure).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::image::Image;
use crate::launch_spec::LaunchSpec;

/// Where the sandbox is mounted in a container. Source: Mesos, Docker containerizer, `sandbox_directory`.
const SANDBOX: &str = "/mnt/mesos/sandbox";

/// The label of a container with the executor's directory of its launch.
pub(super) const LABEL: &str = "borges.launch";

/// The option of `docker create` that limits memory.
pub(super) const MEMORY_OPTION: &str = "--memory";
/// The smallest memory limit that Docker accepts, in MiB.
const MIN_MEMORY_MIB: u64 = 6;

/// The most characters of a launch's id in a container's name.
const MAX_ID_CHARS: usize = 100;

/// The file to which the wrapper writes the block's exit code, relative to the sandbox.
pub(super) const CODE_FILE: &str = "block/.code";

/// The file to which the wrapper writes [`NO_DIRECTORY`] or [`NO_PROGRAM`], relative to the sandbox.
pub(super) const MISSING_FILE: &str = "block/.missing";

/// The working directory does not exist.
pub(super) const NO_DIRECTORY: &str = "directory";
/// The interpreter does not exist.
pub(super) const NO_PROGRAM: &str = "program";

/// Runs the block: `$1` is its directory, `$2` what it reads, the rest what to run there.
///
/// The first process of a container gets no signal it does not handle, and may signal all others. The inner
/// shell outlives a SIGTERM, so as to note the code; `:` and not an empty trap, which the block would inherit.
/// The image's own LANG and TZ stay.
const WRAPPER: &str = r#"
trap 'kill -TERM -1; kill -CONT -1' TERM
box=/mnt/mesos/sandbox/block
: "${LANG:=C.UTF-8}" "${TZ:=UTC}"
export LANG TZ
cd "$1" 2>/dev/null || { echo directory >"$box/.missing"; exit 126; }
input=$2
shift 2
command -v "$1" >/dev/null || { echo program >"$box/.missing"; exit 127; }
(
  trap : TERM
  "$@" <"$input" >>"$box/stdout" 2>>"$box/stderr"
  echo "$?" >"$box/.code"
) &
while wait "$!"; end=$?; [ "$end" -gt 128 ] && kill -0 "$!" 2>/dev/null; do :; done
read -r code <"$box/.code" && exit "$code"
exit "$end"
"#;

/// The name of a launch's container and control group.
///
/// Characters of other schedulers' ids that Docker refuses are replaced, and a hash keeps the name unique.
pub(crate) fn container_name(launch: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if launch.len() <= MAX_ID_CHARS && launch.chars().all(is_allowed) {
        return format!("borges-{launch}");
    }
    let id: String = launch.chars().take(MAX_ID_CHARS).map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let hash: String =
        Sha256::digest(launch.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("borges-{id}-{hash}")
}

/// The arguments of `docker` that create the container of a launch.
///
/// The container runs as `user`, whatever the image says, so that the agent's user owns the files in the sandbox.
pub(crate) fn arguments(
    spec: &LaunchSpec,
    image: &Image,
    launch: &str,
    executor: &Path,
    sandbox: &Path,
    user: (u32, u32),
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["create", "--name"].map(OsString::from).into();
    arguments.push(container_name(launch).into());
    if image.pull {
        arguments.extend(["--pull", "always"].map(OsString::from));
    }
    arguments.push("--label".into());
    arguments.push(with_path(&format!("{LABEL}="), executor));
    if let Some(mib) = spec.limits.memory {
        // `--memory-swap` is the sum of memory and swap: equal values mean no swap.
        let limit = format!("{}m", mib.max(MIN_MEMORY_MIB));
        arguments.extend([MEMORY_OPTION, &limit, "--memory-swap", &limit].map(OsString::from));
    }
    match &image.bridge {
        None => arguments.extend(["--network", "host"].map(OsString::from)),
        Some(ports) => {
            arguments.extend(["--network", "bridge"].map(OsString::from));
            for (host, container) in ports {
                arguments.extend(["--publish".into(), format!("{host}:{container}").into()]);
            }
        }
    }
    arguments.push("--user".into());
    arguments.push(format!("{}:{}", user.0, user.1).into());
    arguments.push("--mount".into());
    arguments.push(mount(sandbox));
    arguments.extend(["--workdir", SANDBOX].map(OsString::from));
    let sandbox_variable = [("MESOS_SANDBOX", SANDBOX)];
    let variables = spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in variables.chain(sandbox_variable) {
        arguments.extend(["--env".into(), format!("{name}={value}").into()]);
    }
    arguments.extend(["--entrypoint", "/bin/sh", "--"].map(OsString::from));
    arguments.extend([image.reference.as_str(), "-c", WRAPPER, "borges"].map(OsString::from));
    arguments.extend(command(spec).into_iter().map(OsString::from));
    arguments
}

/// The wrapper's arguments: the working directory, the stdin file, the program and its arguments.
fn command(spec: &LaunchSpec) -> Vec<String> {
    let in_sandbox = |path: &str| format!("{SANDBOX}/{path}");
    let directory = match spec.directory.as_deref() {
        None => SANDBOX.to_owned(),
        Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
        Some(relative) => in_sandbox(relative),
    };
    let has_directory = spec.directory.is_some();
    // As for a process, a program with a slash is relative to the sandbox.
    let absolute = |path: &str, is_path: bool| {
        if is_path && has_directory && !path.starts_with('/') { in_sandbox(path) } else { path.to_owned() }
    };
    let input = spec.payload.stdin.as_deref().map_or_else(|| "/dev/null".to_owned(), in_sandbox);
    let mut arguments = vec![directory, input, absolute(&spec.program, spec.program.contains('/'))];
    arguments.extend(
        spec.arguments.iter().skip(1).map(|argument| absolute(argument, spec.is_payload_file(argument))),
    );
    arguments
}

/// The value of `--mount` for the sandbox, which is a line of CSV.
fn mount(sandbox: &Path) -> OsString {
    let mut value = b"type=bind,\"source=".to_vec();
    for &byte in sandbox.as_os_str().as_bytes() {
        if byte == b'"' {
            value.push(byte);
        }
        value.push(byte);
    }
    value.extend_from_slice(format!("\",destination={SANDBOX}").as_bytes());
    OsString::from_vec(value)
}

/// A text followed by a path, which need not be UTF-8.
fn with_path(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch_spec::{BODY_ARG, Limits};
    use borges_mesos::payload::TaskPayload;
    use borges_mesos::resources::Quantities;

    fn spec(directory: Option<&str>) -> LaunchSpec {
        LaunchSpec {
            program: "python3".into(),
            arguments: ["python3", "-u", BODY_ARG].map(str::to_owned).into(),
            environment: vec![("A".into(), "two words".into())],
            directory: directory.map(str::to_owned),
            image: None,
            payload: TaskPayload::body("x"),
            resources: Quantities::default(),
            limits: Limits { memory: Some(64), ..Limits::default() },
        }
    }

    #[test]
    fn launches_become_arguments_of_docker_create() {
        let image = Image { reference: "registry:5000/x:1".into(), pull: false, bridge: None };
        let executor = Path::new("/s/\"a\",b:c/executors/r.1.1");
        let arguments = arguments(&spec(None), &image, "r.1.1", executor, &executor.join("runs"), (7, 8));
        let text: Vec<_> =
            arguments.iter().map(|word| word.to_string_lossy()).filter(|word| word != WRAPPER).collect();
        insta::assert_snapshot!(text.join(" | "), @r#"create | --name | borges-r.1.1 | --label | borges.launch=/s/"a",b:c/executors/r.1.1 | --memory | 64m | --memory-swap | 64m | --network | host | --user | 7:8 | --mount | type=bind,"source=/s/""a"",b:c/executors/r.1.1/runs",destination=/mnt/mesos/sandbox | --workdir | /mnt/mesos/sandbox | --env | A=two words | --env | MESOS_SANDBOX=/mnt/mesos/sandbox | --entrypoint | /bin/sh | -- | registry:5000/x:1 | -c | borges | /mnt/mesos/sandbox | /dev/null | python3 | -u | block/body"#);
    }

    #[test]
    fn ports_are_published_on_the_bridge_network() {
        let bridge = Some(vec![(8080, 80), (8443, 443)]);
        let image = Image { reference: "x".into(), pull: false, bridge };
        let directory = Path::new("/s");
        let arguments = arguments(&spec(None), &image, "r.1.1", directory, directory, (7, 8));
        let text = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(" --network bridge --publish 8080:80 --publish 8443:443 --user 7:8 "),
            "{text}"
        );
    }

    #[test]
    fn payload_files_have_absolute_paths_outside_the_sandbox() {
        let line = |directory: &str| command(&spec(Some(directory))).join(" ");
        assert_eq!(line("/data"), "/data /dev/null python3 -u /mnt/mesos/sandbox/block/body");
        assert_eq!(
            line("data"),
            "/mnt/mesos/sandbox/data /dev/null python3 -u /mnt/mesos/sandbox/block/body"
        );
        let body =
            LaunchSpec { program: BODY_ARG.into(), arguments: vec!["x".into()], ..spec(Some("/data")) };
        assert_eq!(command(&body), ["/data", "/dev/null", "/mnt/mesos/sandbox/block/body"]);
        let with_stdin = LaunchSpec {
            payload: TaskPayload { stdin: Some("block/stdin".into()), ..TaskPayload::body("x") },
            ..body
        };
        assert_eq!(command(&with_stdin)[1], "/mnt/mesos/sandbox/block/stdin");
    }

    #[test]
    fn container_names_are_valid_and_unique() {
        assert_eq!(container_name("r.1.1"), "borges-r.1.1");
        let (one, other) = (container_name("a b"), container_name("a/b"));
        assert!(one.starts_with("borges-a_b-") && other.starts_with("borges-a_b-") && one != other);
        assert!(container_name(&"ö".repeat(120)).len() < 128);
    }

    #[test]
    fn wrapper_and_shim_use_the_same_files() {
        for path in [CODE_FILE, MISSING_FILE] {
            assert!(WRAPPER.contains(&path.replace("block/", "$box/")), "{path}");
        }
        for word in [NO_DIRECTORY, NO_PROGRAM] {
            assert!(WRAPPER.contains(&format!("echo {word} >")), "{word}");
        }
        assert!(WRAPPER.contains(&format!("box={SANDBOX}/block\n")));
    }
}
