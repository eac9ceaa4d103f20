//! Borges is killed twenty times while blocks run on a real cluster; each block runs once.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::server_on;
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

const BLOCKS: usize = 50;
const KILLS: u32 = 20;

/// The states of all tasks.
fn states(server: &TestServer) -> Vec<String> {
    let (status, text) = server.curl(&["-H", "Accept: application/json"], "/tasks?limit=1000");
    assert_eq!(status, 200, "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    said["tasks"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs Mesos"]
fn blocks_run_once_across_scheduler_kills() {
    let mesos = Mesos::start();
    let mut server = server_on(&mesos.master.address);
    let starts = server.path("starts");
    fs::create_dir(&starts).unwrap();
    let block = format!(
        "#+begin_src sh\necho \"$$ $(cat /proc/sys/kernel/random/boot_id)\" >>{}/$BORGES_TASK\nsleep 2\n#+end_src\n",
        starts.display()
    );
    let run = server.submit(&block.repeat(BLOCKS));
    let framework = |server: &TestServer| -> Value {
        serde_json::from_str::<Value>(&server.curl(&[], "/varz").1).unwrap()["cluster"]["framework"].clone()
    };
    poll_until(DEADLINE, "the server has a framework id", || framework(&server).is_string());
    let first = framework(&server);

    // A fixed seed. A kill comes at a count of started blocks and a pause after that, so that blocks run at most kills,
    // also on a slow machine.
    let mut random = fastrand::Rng::with_seed(7);
    let mut moments: Vec<usize> = (0..KILLS).map(|_| random.usize(..BLOCKS)).collect();
    moments.sort_unstable();
    let mut under_way = 0;
    for moment in moments {
        poll_until(DEADLINE, &format!("{moment} blocks have started"), || {
            match fs::read_dir(&starts).unwrap().count() {
                started if started >= moment => Ok(()),
                started => Err(started),
            }
        });
        sleep(Duration::from_millis(random.u64(20..700)));
        let states = states(&server);
        let is_out = |state: &&String| matches!(state.as_str(), "launching" | "running" | "unreachable");
        under_way += u32::from(states.iter().any(|state| is_out(&state)));
        server.stop(Signal::SIGKILL);
        server.restart();
    }
    println!("{under_way} of {KILLS} kills between a saved launch and its end");
    assert!(under_way >= 15, "{under_way}");
    poll_until(DEADLINE, "all have ended", || states(&server).iter().all(|state| state == "finished"));
    assert_eq!(states(&server).len(), BLOCKS);
    for number in 1..=BLOCKS {
        let lines = fs::read_to_string(starts.join(format!("{run}.{number}"))).unwrap();
        assert_eq!(lines.lines().count(), 1, "{number}: {lines}");
    }
    assert_eq!(framework(&server), first);
}
