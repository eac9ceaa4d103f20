//! A task → the arguments of `docker create`, and the wrapper that runs the block within.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Image;
use crate::launch_spec::LaunchSpec;

/// Where a container finds its sandbox. Source: Mesos, Docker containerizer, `sandbox_directory`.
const SANDBOX: &str = "/mnt/mesos/sandbox";

/// The label of our containers that says whose they are: the directory of their launch.
pub(super) const LABEL: &str = "borges.launch";

/// What limits the memory of a container.
pub(super) const MEMORY: &str = "--memory";
/// Docker limits memory to no less, MiB.
const LEAST_MEMORY: u64 = 6;

/// The most characters of a launch's id that a container's name shows as they are.
const MOST_SHOWN: usize = 100;

/// Where the wrapper puts the block's exit code, seen from the sandbox.
pub(super) const CODE: &str = "block/.code";

/// Where the wrapper says what is not there: [`NO_DIRECTORY`] or [`NO_PROGRAM`].
pub(super) const MISSING_NOTE: &str = "block/.missing";

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

/// What a container of `launch` is called.
///
/// An id that is no name for Docker, as none of Borges' own is, is made one, with a hash to tell it from others.
pub(crate) fn name(launch: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if launch.len() <= MOST_SHOWN && launch.chars().all(good) {
        return format!("borges-{launch}");
    }
    let shown: String = launch.chars().take(MOST_SHOWN).map(|c| if good(c) { c } else { '_' }).collect();
    let hash: String =
        Sha256::digest(launch.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("borges-{shown}-{hash}")
}

/// The arguments of `docker` that make the container of a launch.
///
/// It runs as `user`, whatever the image says, so that what it writes into the sandbox is ours.
pub(crate) fn arguments(
    work: &LaunchSpec,
    image: &Image,
    launch: &str,
    executor: &Path,
    sandbox: &Path,
    user: (u32, u32),
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["create", "--name"].map(OsString::from).into();
    arguments.push(name(launch).into());
    if image.pull {
        arguments.extend(["--pull", "always"].map(OsString::from));
    }
    arguments.push("--label".into());
    arguments.push(joined(&format!("{LABEL}="), executor));
    if let Some(mib) = work.limits.memory {
        // The same twice is no swap beside it.
        let most = format!("{}m", mib.max(LEAST_MEMORY));
        arguments.extend([MEMORY, &most, "--memory-swap", &most].map(OsString::from));
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
    let own = [("MESOS_SANDBOX", SANDBOX)];
    let asked = work.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in asked.chain(own) {
        arguments.extend(["--env".into(), format!("{name}={value}").into()]);
    }
    arguments.extend(["--entrypoint", "/bin/sh", "--"].map(OsString::from));
    arguments.extend([image.reference.as_str(), "-c", WRAPPER, "borges"].map(OsString::from));
    arguments.extend(command(work).into_iter().map(OsString::from));
    arguments
}

/// The wrapper's arguments: where to run, what to read, and what to run.
fn command(work: &LaunchSpec) -> Vec<String> {
    let within = |path: &str| format!("{SANDBOX}/{path}");
    let directory = match work.directory.as_deref() {
        None => SANDBOX.to_owned(),
        Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
        Some(relative) => within(relative),
    };
    let elsewhere = work.directory.is_some();
    // As for a process, a program with a slash is seen from the sandbox.
    let placed = |path: &str, is_path: bool| {
        if is_path && elsewhere && !path.starts_with('/') { within(path) } else { path.to_owned() }
    };
    let input = work.parcel.stdin.as_deref().map_or_else(|| "/dev/null".to_owned(), within);
    let mut words = vec![directory, input, placed(&work.program, work.program.contains('/'))];
    words.extend(work.arguments.iter().skip(1).map(|argument| placed(argument, work.is_own_file(argument))));
    words
}

/// The value of `--mount`, which is a line of CSV.
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

fn joined(before: &str, path: &Path) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch_spec::BODY_ARG;
    use crate::limits::Limits;
    use borges_mesos::payload::TaskPayload;
    use borges_mesos::resources::Quantities;

    fn work(directory: Option<&str>) -> LaunchSpec {
        LaunchSpec {
            program: "python3".into(),
            arguments: ["python3", "-u", BODY_ARG].map(str::to_owned).into(),
            environment: vec![("A".into(), "two words".into())],
            directory: directory.map(str::to_owned),
            image: None,
            parcel: TaskPayload::body("x"),
            held: Quantities::default(),
            limits: Limits { memory: Some(64), ..Limits::default() },
        }
    }

    #[test]
    fn a_task_becomes_one_call_of_docker() {
        let image = Image { reference: "registry:5000/x:1".into(), pull: false, bridge: None };
        let executor = Path::new("/s/\"a\",b:c/executors/r.1.1");
        let made = arguments(&work(None), &image, "r.1.1", executor, &executor.join("runs"), (7, 8));
        let text: Vec<_> =
            made.iter().map(|word| word.to_string_lossy()).filter(|word| word != WRAPPER).collect();
        insta::assert_snapshot!(text.join(" | "), @r#"create | --name | borges-r.1.1 | --label | borges.launch=/s/"a",b:c/executors/r.1.1 | --memory | 64m | --memory-swap | 64m | --network | host | --user | 7:8 | --mount | type=bind,"source=/s/""a"",b:c/executors/r.1.1/runs",destination=/mnt/mesos/sandbox | --workdir | /mnt/mesos/sandbox | --env | A=two words | --env | MESOS_SANDBOX=/mnt/mesos/sandbox | --entrypoint | /bin/sh | -- | registry:5000/x:1 | -c | borges | /mnt/mesos/sandbox | /dev/null | python3 | -u | block/body"#);
    }

    #[test]
    fn on_the_bridge_ports_are_published() {
        let bridge = Some(vec![(8080, 80), (8443, 443)]);
        let image = Image { reference: "x".into(), pull: false, bridge };
        let place = Path::new("/s");
        let made = arguments(&work(None), &image, "r.1.1", place, place, (7, 8));
        let text = made.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(" --network bridge --publish 8080:80 --publish 8443:443 --user 7:8 "),
            "{text}"
        );
    }

    #[test]
    fn elsewhere_the_body_is_found_by_its_whole_path() {
        let words = |directory: &str| command(&work(Some(directory))).join(" ");
        assert_eq!(words("/data"), "/data /dev/null python3 -u /mnt/mesos/sandbox/block/body");
        assert_eq!(
            words("data"),
            "/mnt/mesos/sandbox/data /dev/null python3 -u /mnt/mesos/sandbox/block/body"
        );
        let body =
            LaunchSpec { program: BODY_ARG.into(), arguments: vec!["x".into()], ..work(Some("/data")) };
        assert_eq!(command(&body), ["/data", "/dev/null", "/mnt/mesos/sandbox/block/body"]);
        let fed = LaunchSpec {
            parcel: TaskPayload { stdin: Some("block/stdin".into()), ..TaskPayload::body("x") },
            ..body
        };
        assert_eq!(command(&fed)[1], "/mnt/mesos/sandbox/block/stdin");
    }

    #[test]
    fn every_launch_has_a_name_of_its_own() {
        assert_eq!(name("r.1.1"), "borges-r.1.1");
        let (one, other) = (name("a b"), name("a/b"));
        assert!(one.starts_with("borges-a_b-") && other.starts_with("borges-a_b-") && one != other);
        assert!(name(&"ö".repeat(120)).len() < 128);
    }

    #[test]
    fn the_wrapper_writes_where_it_is_read() {
        for place in [CODE, MISSING_NOTE] {
            assert!(WRAPPER.contains(&place.replace("block/", "$box/")), "{place}");
        }
        for word in [NO_DIRECTORY, NO_PROGRAM] {
            assert!(WRAPPER.contains(&format!("echo {word} >")), "{word}");
        }
        assert!(WRAPPER.contains(&format!("box={SANDBOX}/block\n")));
    }
}
