//! Transfer of bodies to agents, and of output from them.

use std::fs;

use super::{server_on, stdout, wait_until};
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};

#[test]
#[ignore = "needs Mesos"]
fn large_body_and_output_are_transferred_whole() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let long = "#".repeat(2 << 20);
    let run = server.submit(&format!(
        "#+name: body\n#+begin_src sh\nwc -c <block/body\n# {long}\n#+end_src\n\
         #+name: output\n#+begin_src python\nimport sys\nsys.stdout.buffer.write(bytes(range(256)) * 40960)\n\
         print('e' * 100, file=sys.stderr)\n#+end_src\n"
    ));
    wait_until(&server, &format!("{run}.1"), "finished");
    let size: usize =
        String::from_utf8(stdout(&server, &format!("{run}.1"))).unwrap().trim().parse().unwrap();
    assert!(size > 2 << 20, "{size}");
    let task = format!("{run}.2");
    wait_until(&server, &task, "finished");
    let whole: Vec<u8> = (0..40960).flat_map(|_| 0..=255).collect();
    assert!(stdout(&server, &task) == whole, "byte for byte");
    let copy = server.path(&format!("state/outputs/{task}.1/stdout"));
    poll_until(DEADLINE, "the output is copied", || copy.exists());
    assert!(fs::read(&copy).unwrap() == whole);
    // The machine goes away with all it has.
    drop(mesos);
    assert!(stdout(&server, &task) == whole, "from the copy");
    let (status, part) = server.curl_bytes(&[], &format!("/tasks/{task}/stdout?offset=300&limit=4"));
    assert_eq!((status, part), (200, vec![44, 45, 46, 47]));
    assert_eq!(server.curl_bytes(&[], &format!("/tasks/{task}/stderr")).1.len(), 101);
    let (_, files) = server.curl(&[], &format!("/tasks/{task}/files/block"));
    assert!(files.contains("stdout") && files.contains("stderr"), "{files}");
}

#[test]
#[ignore = "needs Mesos"]
fn output_is_readable_while_the_block_runs() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let run = server
        .submit("#+begin_src sh\necho first; while [ ! -e go ]; do sleep 0.1; done; echo last\n#+end_src\n");
    let task = format!("{run}.1");
    wait_until(&server, &task, "running");
    poll_until(DEADLINE, "the block has written something", || stdout(&server, &task) == b"first\n");
    let (status, listing) = server.curl(&[], &format!("/tasks/{task}/files"));
    assert!(status == 200 && listing.contains("block") && listing.contains("stderr"), "{listing}");
    let (_, note) = server.curl(&[], &format!("/tasks/{task}/files/stdout"));
    assert!(note.contains("The block's output is in block/stdout"), "{note}");
    assert_eq!(server.curl(&[], &format!("/tasks/{task}/files/none")).0, 404);
    let sandbox = sandbox(&mesos, &format!("{task}.1"));
    fs::write(sandbox.join("go"), "").unwrap();
    let (status, all) = server.curl(&[], &format!("/tasks/{task}/stdout?follow=1"));
    assert_eq!((status, all.as_str()), (200, "first\nlast\n"));
}

/// The sandbox of a launch.
pub(crate) fn sandbox(mesos: &Mesos, launch: &str) -> std::path::PathBuf {
    let found = std::process::Command::new("find")
        .arg(mesos.directory.path())
        .args(["-path", &format!("*/executors/{launch}/runs/*/block")])
        .output()
        .unwrap();
    let text = String::from_utf8(found.stdout).unwrap();
    let block = text.lines().find(|line| !line.contains("/latest/")).expect("a sandbox");
    std::path::Path::new(block).parent().unwrap().to_owned()
}
