//! Full and read-only disks, and damaged stores: the server reports them and loses no accepted document.
//!
//! The disk is a small file system in memory, which the test mounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use support::features::Feature;
use support::poll::{DEADLINE, poll_until};
use support::program;
use support::server::TestServer;

/// A small file system, which is unmounted when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at));
        Self(at.to_owned())
    }

    fn remount(&self, how: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still runs there ends with its test, a moment later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} (as root): {}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The standard error of a server that cannot start. It must exit by itself, with code 2.
fn refusal(server: &TestServer) -> String {
    let Output { status, stderr, .. } = server.run_to_exit();
    assert_eq!(status.code(), Some(2), "{}", text(&stderr));
    text(&stderr)
}

#[test]
#[ignore = "needs root"]
fn accepted_documents_survive_a_full_disk() {
    if Feature::Mounts.is_absent() {
        return;
    }
    let mut server = TestServer::start();
    server.stop(Signal::SIGTERM);
    server.kill_agent();
    fs::remove_dir_all(server.path("state")).unwrap();
    let disk = Disk::mount(&server.path("state"), "16m");
    server.restart();
    let gate = server.path("gate");
    let wait = format!(
        "#+begin_src sh\nwhile [ ! -e {} ]; do sleep 0.05; done; exit 7\n#+end_src\n",
        gate.display()
    );
    let first = server.submit(&wait);
    server.wait_for_state(&format!("{first}.1"), "running");

    let filler = server.path("state/filler");
    let _full =
        Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", filler.display())).output();
    let large = format!("# {}\n#+begin_src sh :cpu 9999\ntrue\n#+end_src\n", "x".repeat(400_000));
    fs::write(server.path("large.org"), large).unwrap();
    let mut accepted = Vec::new();
    let refused = (0..40).find_map(|_| {
        let (status, text) = server.curl(&["-X", "POST", "--data-binary", "@large.org"], "/org");
        if status != 200 {
            return Some((status, text));
        }
        accepted.extend(text.lines().find_map(|line| line.strip_prefix("run ")).map(str::to_owned));
        None
    });
    let (status, said) = refused.expect("a full disk takes no forty documents");
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("nothing was launched") && said.contains("No space left"), "{said}");
    // It can promise nothing any more, and says why it ends.
    let ended = server.wait_for_exit();
    let rest = server.log_since_start();
    assert!(ended == Some(2) && rest.contains("the store cannot be written"), "{ended:?}: {rest}");
    println!(
        "{} documents accepted on the full disk; then: {}",
        accepted.len(),
        rest.lines().last().unwrap()
    );

    fs::write(&gate, "").unwrap();
    fs::remove_file(&filler).unwrap();
    server.restart();
    assert!(server.wait_for_state(&format!("{first}.1"), "failed").contains("exit code 7"));
    for run in &accepted {
        assert_eq!(server.curl(&[], &format!("/org/{run}")).0, 200, "{run} was accepted");
    }
    assert_eq!(server.curl(&[], "/org").1.lines().count(), accepted.len() + 1);
    server.stop(Signal::SIGTERM);
    server.kill_agent();
    drop(disk);
}

#[test]
#[ignore = "needs root"]
fn read_only_store_is_reported() {
    if Feature::Mounts.is_absent() {
        return;
    }
    let mut server = TestServer::start();
    server.stop(Signal::SIGTERM);
    server.kill_agent();
    let state = server.path("state");
    let kept = fs::read(state.join("store.redb")).unwrap();
    fs::remove_dir_all(&state).unwrap();
    let disk = Disk::mount(&state, "16m");
    fs::write(state.join("store.redb"), kept).unwrap();
    disk.remount("ro");
    let said = refusal(&server);
    assert!(said.contains("store.redb` cannot be opened") && said.contains("Read-only"), "{said}");
}

/// The store of a killed server is intact; six damaged copies of it are reported.
#[test]
fn damaged_store_is_reported_and_left_unchanged() {
    let mut server = TestServer::start();
    // Two commits with runs: of a store whose last commit is damaged, the one before it is read, which could be that of an
    // empty store.
    let [run, other] = [(); 2].map(|()| server.submit(&"#+begin_src sh :cpu 9999\n#+end_src\n".repeat(300)));
    server.stop(Signal::SIGKILL);
    let path = server.path("state/store.redb");
    let whole = fs::read(&path).unwrap();
    let (code, said) = check_store(&server);
    assert!(code == Some(0) && said.contains("2 runs"), "{said}");

    let mut told = 0;
    let half = whole.len() / 2;
    let cases: [(&str, Vec<u8>); 6] = [
        ("cut to nothing", Vec::new()),
        ("cut to a page", whole[..4096].to_vec()),
        ("cut in half", whole[..half].to_vec()),
        ("its head torn", [vec![0; 512], whole[512..].to_vec()].concat()),
        ("another file", b"a letter to somebody\n".to_vec()),
        ("zeros from 64 KiB on", [whole[..65_536].to_vec(), vec![0; whole.len() - 65_536]].concat()),
    ];
    for (name, torn) in cases {
        fs::write(&path, &torn).unwrap();
        let (code, said) = check_store(&server);
        assert_ne!(code, Some(0), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
        let refused = refusal(&server);
        assert!(refused.contains("store.redb`") || refused.contains("the store"), "{name}: {refused}");
        assert!(!refused.contains("panicked"), "{name}: {refused}");
        println!("{name}: {}", refused.lines().last().unwrap_or_default());
        told += 1;
    }
    assert_eq!(told, 6);
    // Nothing was made worse: the whole one is taken up again.
    fs::write(&path, &whole).unwrap();
    server.restart();
    for run in [run, other] {
        assert!(server.curl(&[], &format!("/org/{run}")).1.contains("0 of 300 ended"));
    }
}

/// The row and the sandboxes of an expired run are removed; live and recent runs stay.
#[test]
fn ended_runs_are_removed_after_borges_keep() {
    let server = TestServer::with_setupfile("#+borges_keep: 1s\n");
    let old = server.submit("#+begin_src sh\necho old\n#+end_src\n");
    let live = server.submit("#+begin_src sh\necho live; sleep 1000\n#+end_src\n");
    server.wait_for_state(&format!("{live}.1"), "running");
    poll_until(DEADLINE, "the old run is forgotten", || match server.curl(&[], &format!("/org/{old}")) {
        (404, _) => Ok(()),
        other => Err(other),
    });
    let of = |run: &str| {
        let find = Command::new("find")
            .arg(server.path("state/frameworks"))
            .arg("-name")
            .arg(format!("{run}.*"))
            .output();
        text(&find.unwrap().stdout).lines().count()
    };
    assert_eq!((of(&old), of(&live)), (0, 1));
    assert_eq!(server.curl(&[], &format!("/tasks/{live}.1/stdout")).1, "live\n");
    assert_eq!(server.curl(&[], &format!("/tasks/{old}.1")).0, 404);
}

fn check_store(server: &TestServer) -> (Option<i32>, String) {
    let checked = Command::new(program::path())
        .args(["check-store", "-f"])
        .arg(server.path("setup.org"))
        .env("BORGES_DATA", server.path("state"))
        .output()
        .unwrap();
    (checked.status.code(), format!("{}{}", text(&checked.stdout), text(&checked.stderr)))
}
