//! A Docker daemon of the suite's own, and its images.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};

/// In namespaces of its own: when its first process ends so do the daemon and all containers, and no mount, no
/// port and no packet of it is seen outside. It is started again when it ends, until it is to stay away.
const HOUSE: &str = r#"
mount -t tmpfs none /run
busybox ip link set lo up
while [ ! -e "$1/away" ]; do
  dockerd --host "unix://$1/socket" --pidfile "$1/pid" --data-root "$1/data" --exec-root "$1/exec" \
    --storage-driver vfs $2 --iptables=false --ip6tables=false >>"$1/log" 2>&1
done
exec sleep 1000000
"#;

pub struct Daemon {
    directory: TempDir,
    house: Child,
}

impl Daemon {
    /// One whose containers have the machine's network or none.
    pub fn start() -> Self {
        Self::with("--bridge none")
    }

    /// One that can map ports too.
    pub fn with_bridge() -> Self {
        Self::with("--bip 192.168.87.1/24")
    }

    fn with(network: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let house = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "sh", "-c", HOUSE, "house"])
            .arg(directory.path())
            .arg(network)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { directory, house };
        daemon.wait();
        daemon.import("ubuntu", &[]);
        daemon
    }

    /// Waits until it answers.
    pub fn wait(&self) {
        poll_until(DEADLINE, "the Docker daemon answers", || {
            let answers = self.docker(&["version"]).status.success();
            if answers { Ok(()) } else { Err(fs::read_to_string(self.path("log")).unwrap_or_default()) }
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `DOCKER_HOST` is to be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// A process in the network that its containers have.
    pub fn house(&self) -> u32 {
        self.house.id()
    }

    pub fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(arguments).env("DOCKER_HOST", self.host()).output().unwrap()
    }

    /// The names of its containers, running or not, with their states.
    pub fn containers(&self) -> Vec<String> {
        let output = self.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Whether the daemon ends a container of its image `ubuntu` that fills more memory, by the command `fill`, than
    /// the 32 MiB it may have; the error says what it does instead. Without control groups of the kernel it discards
    /// the limit, or starts no container that has one.
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

    /// Kills the daemon without a word; another one takes its place, unless it is to stay away.
    pub fn kill(&self, stay_away: bool) {
        if stay_away {
            fs::write(self.path("away"), "").unwrap();
        }
        let ours = self.path("pid").into_os_string().into_string().unwrap();
        let daemon = processes().find(|(_, line)| line.starts_with("dockerd\0") && line.contains(&ours));
        kill(Pid::from_raw(daemon.expect("a daemon").0), Signal::SIGKILL).unwrap();
    }

    /// Makes an image of busybox and these programs, with the libraries they need.
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
        // Its containers first, or their control groups stay.
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let all = String::from_utf8_lossy(&all).into_owned();
        if !all.is_empty() {
            let _ = self.docker(
                &[&["rm", "--force"], all.split_whitespace().collect::<Vec<_>>().as_slice()].concat(),
            );
        }
        let _ = self.house.kill();
        let _ = self.house.wait();
    }
}

/// Every process and its arguments, each with a NUL after it.
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
    // What two programs need is there already.
    match fs::copy(from.canonicalize().unwrap(), &to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => panic!("{}: {error}", from.display()),
        _ => {}
    }
}
