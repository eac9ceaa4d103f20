//! A Docker daemon with images of its own. It needs root.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};

/// Runs the daemon in namespaces of its own, so that its mounts, ports and packets are not visible outside, and so that the
/// daemon and all containers end with the first process. The daemon is restarted when it ends, unless the file `away`
/// exists.
const NAMESPACES: &str = r#"
mount -t tmpfs none /run
busybox ip link set lo up
while [ ! -e "$1/away" ]; do
  dockerd --host "unix://$1/socket" --pidfile "$1/pid" --data-root "$1/data" --exec-root "$1/exec" \
    --storage-driver vfs $2 --iptables=false --ip6tables=false >>"$1/log" 2>&1
done
exec sleep 1000000
"#;

/// A Docker daemon with an image `ubuntu`, which holds busybox. It ends with its containers when this is dropped.
pub struct Daemon {
    directory: TempDir,
    network_holder: Child,
}

impl Daemon {
    /// A daemon whose containers have the network of the daemon, or none.
    pub fn start() -> Self {
        Self::with("--bridge none")
    }

    /// A daemon with a bridge, which can map ports.
    pub fn with_bridge() -> Self {
        Self::with("--bip 192.168.87.1/24")
    }

    fn with(network: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let network_holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "sh", "-c", NAMESPACES, "namespaces"])
            .arg(directory.path())
            .arg(network)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { directory, network_holder };
        daemon.wait();
        daemon.import("ubuntu", &[]);
        daemon
    }

    /// Waits until the daemon answers.
    pub fn wait(&self) {
        poll_until(DEADLINE, "the Docker daemon answers", || {
            let answers = self.docker(&["version"]).status.success();
            if answers { Ok(()) } else { Err(fs::read_to_string(self.path("log")).unwrap_or_default()) }
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The value of `DOCKER_HOST` for its clients.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// The id of a process in the network namespace of the daemon.
    pub fn network_holder(&self) -> u32 {
        self.network_holder.id()
    }

    /// Runs the Docker client.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(arguments).env("DOCKER_HOST", self.host()).output().unwrap()
    }

    /// The name and state of each container, running or not.
    pub fn containers(&self) -> Vec<String> {
        let output = self.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Checks that the daemon kills a container that exceeds a limit of 32 MiB by the command `fill`.
    ///
    /// The error says what it does instead: without control groups of the kernel it discards the limit, or does not start
    /// a container that has one.
    pub fn can_limit_memory(&self, fill: &str) -> Result<(), String> {
        let run = ["run", "--rm", "--network", "none", "--memory", "32m", "ubuntu", "sh", "-c", fill];
        let output = self.docker(&run);
        match output.status.code() {
            Some(137) => Ok(()),
            code => Err(format!("exit code {code:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// Waits until no container is left, running or not.
    pub fn wait_until_empty(&self) {
        poll_until(DEADLINE, "no container is left", || match self.containers() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
    }

    /// Kills the daemon by SIGKILL. It is restarted unless `stay_away`.
    pub fn kill(&self, stay_away: bool) {
        if stay_away {
            fs::write(self.path("away"), "").unwrap();
        }
        let ours = self.path("pid").into_os_string().into_string().unwrap();
        let daemon = processes().find(|(_, line)| line.starts_with("dockerd\0") && line.contains(&ours));
        kill(Pid::from_raw(daemon.expect("a daemon").0), Signal::SIGKILL).unwrap();
    }

    /// Makes an image of busybox and these programs, with their libraries.
    pub fn import(&self, name: &str, programs: &[&str]) {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        copy(&which("busybox"), root.path(), Some("bin/busybox"));
        let applets = Command::new("busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet)).unwrap();
        }
        for program in programs {
            let program = which(program);
            copy(&program, root.path(), None);
            let libraries = Command::new("ldd").arg(&program).output().unwrap();
            for word in String::from_utf8(libraries.stdout).unwrap().split_ascii_whitespace() {
                if word.starts_with('/') {
                    copy(Path::new(word), root.path(), None);
                }
            }
        }
        self.import_tree(name, root.path());
    }

    /// Makes an image of a directory.
    pub fn import_tree(&self, name: &str, root: &Path) {
        let mut tar =
            Command::new("tar").arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped()).spawn().unwrap();
        let imported = Command::new("docker")
            .args(["import", "-", name])
            .env("DOCKER_HOST", self.host())
            .stdin(tar.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        assert!(tar.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The containers first, because their control groups would stay.
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let all = String::from_utf8_lossy(&all).into_owned();
        if !all.is_empty() {
            let _ = self.docker(
                &[&["rm", "--force"], all.split_whitespace().collect::<Vec<_>>().as_slice()].concat(),
            );
        }
        let _ = self.network_holder.kill();
        let _ = self.network_holder.wait();
    }
}

/// The id and the command line of every process. Each argument ends with a NUL.
pub fn processes() -> impl Iterator<Item = (i32, String)> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        Some((pid, String::from_utf8_lossy(&fs::read(process.path().join("cmdline")).ok()?).into_owned()))
    })
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("`{program}` is missing: see integration/check"))
}

fn copy(from: &Path, root: &Path, to: Option<&str>) {
    let to = root.join(to.map_or(from.strip_prefix("/").unwrap(), Path::new));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    // A library of two programs exists already.
    match fs::copy(from.canonicalize().unwrap(), &to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => panic!("{}: {error}", from.display()),
        _ => {}
    }
}
