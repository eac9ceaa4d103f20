//! Placement on a real cluster: constraints, ports, several offers, maintenance, and suppressed offers.

use std::fs;

use serde_json::{Value, json};

use super::{server_on, stdout, task_shown, wait_until};
use support::mesos::{Mesos, ask};
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

/// A block with these header arguments that prints its ports, and ends once the file `go` exists.
fn block(header: &str, go: &str) -> String {
    format!("#+begin_src sh {header}\necho $PORTS; while [ ! -e {go} ]; do sleep 0.05; done\n#+end_src\n")
}

/// A block that ends by itself.
fn quick(header: &str) -> String {
    block(header, "/")
}

/// Waits until the reason of a queued task contains the words.
fn wait_for_reason(server: &TestServer, task: &str, words: &str) {
    let reason = poll_until(DEADLINE, &format!("the reason has `{words}`"), || {
        let task = task_shown(server, task);
        assert_eq!(task["state"], "queued", "{task}");
        let reason = task["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains(words) { Ok(reason) } else { Err(reason) }
    });
    println!("{task}: {reason}");
}

/// The tasks of all frameworks as the master shows them, current and completed.
fn tasks_of(mesos: &Mesos) -> Vec<Value> {
    let (_, state) = ask(&mesos.master.address, "/master/state", None);
    let frameworks = state["frameworks"].as_array().unwrap();
    let tasks =
        |kind: &str| frameworks.iter().filter_map(|it| it[kind].as_array().cloned()).flatten().collect();
    let (now, past): (Vec<Value>, Vec<Value>) = (tasks("tasks"), tasks("completed_tasks"));
    [now, past].concat()
}

#[test]
#[ignore = "needs Mesos"]
fn constraints_select_the_agent() {
    let domain = |zone: &str| {
        format!(r#"--domain={{"fault_domain":{{"region":{{"name":"north"}},"zone":{{"name":"{zone}"}}}}}}"#)
    };
    let mut mesos = Mesos::with(&[&domain("n0")]);
    mesos.add_agent(&[&domain("n1")]);
    mesos.add_agent(&[&domain("n2")]);
    let server = server_on(&mesos.master.address);
    let agents = [mesos.agent_id(0), mesos.agent_id(1)];

    let told = [
        (":constraint rack:IS:r2", 1),
        (":constraint rack:UNLIKE:r2", 0),
        (":constraint @region:IS:north @zone:LIKE:n[2-9]", 1),
        (":constraint hostname:LIKE:.+ rack:CLUSTER:r1", 0),
        (&format!(":constraint agent:IS:{}", agents[1]), 1),
    ];
    let run = server.submit(&told.map(|(header, _)| quick(header)).concat());
    for (number, (header, place)) in (1..).zip(told) {
        let end = wait_until(&server, &format!("{run}.{number}"), "finished");
        assert_eq!(end["agent"], agents[place].as_str(), "{header}");
    }

    // One in each rack, and the third when there is room for it.
    let go: Vec<_> = (1..=3).map(|number| server.path(&format!("go-{number}"))).collect();
    let each = |go: &std::path::PathBuf| block(":constraint rack:UNIQUE", &go.display().to_string());
    let run = server.submit(&go.iter().map(each).collect::<String>());
    let [first, second, third] = [1, 2, 3].map(|number| format!("{run}.{number}"));
    let mut used = [&first, &second].map(|task| wait_until(&server, task, "running")["agent"].to_string());
    used.sort();
    let mut both = agents.clone().map(|agent| Value::from(agent).to_string());
    both.sort();
    assert_eq!(used, both);
    wait_for_reason(&server, &third, ":constraint rack:UNIQUE: ");
    wait_for_reason(&server, &third, "; others are on r1, r2");
    let freed = task_shown(&server, &second)["agent"].clone();
    fs::write(&go[1], "").unwrap();
    assert_eq!(wait_until(&server, &third, "running")["agent"], freed);
    // A restarted server knows on which agents the blocks run.
    let mut server = server;
    server.stop(nix::sys::signal::Signal::SIGKILL);
    server.restart();
    wait_until(&server, &first, "running");
    fs::write(&go[0], "").unwrap();
    fs::write(&go[2], "").unwrap();
    wait_until(&server, &third, "finished");

    // Nobody will do: it says so in the document's words, with the line.
    let run = server.submit(&format!("\n\n{}", quick(":constraint rack:LIKE:r[3-9]")));
    wait_for_reason(&server, &format!("{run}.1"), "line 3, :constraint rack:LIKE:r[3-9]: met by none of ");
    wait_for_reason(&server, &format!("{run}.1"), "; rack was r1, r2");
}

#[test]
#[ignore = "needs Mesos"]
fn ports_are_claimed() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let go: Vec<_> = (1..=3).map(|number| server.path(&format!("go-{number}"))).collect();
    let named: String = go.iter().map(|go| block(":expose 31005", &go.display().to_string())).collect();
    let run = server.submit(&format!("{named}{}{}", quick(":expose 0 31007 0"), quick(":expose 90")));
    let [first, second, third, any, none] = [1, 2, 3, 4, 5].map(|number| format!("{run}.{number}"));

    // Each agent has it once.
    let used = [&first, &second].map(|task| wait_until(&server, task, "running")["agent"].to_string());
    assert_ne!(used[0], used[1]);
    poll_until(DEADLINE, "the block prints its port", || stdout(&server, &first) == b"31005\n");
    wait_for_reason(&server, &third, &format!("line {}, :expose 31005: ", 1 + 2 * 3));
    fs::write(&go[0], "").unwrap();
    wait_until(&server, &third, "running");
    fs::write(&go[1], "").unwrap();
    fs::write(&go[2], "").unwrap();
    wait_until(&server, &third, "finished");

    wait_until(&server, &any, "finished");
    let ports: Vec<u16> = String::from_utf8(stdout(&server, &any))
        .unwrap()
        .trim()
        .split(',')
        .map(|port| port.parse().unwrap())
        .collect();
    assert_eq!((ports.len(), ports[1]), (3, 31007));
    assert!(ports.iter().all(|port| (31000..=31100).contains(port)) && ports[0] != ports[2], "{ports:?}");
    wait_for_reason(&server, &none, ":expose 90: free in none of ");

    // The master has reckoned them as ours.
    let claimed = |task: &str| {
        let tasks = tasks_of(&mesos);
        let shown = tasks.iter().find(|it| it["id"] == format!("{task}.1")).unwrap();
        shown["resources"]["ports"].as_str().unwrap().to_owned()
    };
    assert_eq!(claimed(&first), "[31005-31005]");
    let listed: Vec<_> = claimed(&any)
        .trim_matches(['[', ']'])
        .split(", ")
        .flat_map(|range| {
            let (from, to) = range.split_once('-').unwrap();
            from.parse::<u16>().unwrap()..=to.parse().unwrap()
        })
        .collect();
    let mut sorted = ports;
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
}

/// A block that fits on an agent and in no single offer: its resources become free in two parts.
#[test]
#[ignore = "needs Mesos"]
fn offers_of_one_agent_are_accepted_together() {
    let mut mesos = Mesos::with(&[]);
    mesos.add_agent(&[]);
    let server = server_on(&mesos.master.address);
    let offers = || server.log().matches("Received offer").count();
    // An offer is kept for a second: on a slow machine the second one comes too late. Then it is tried again.
    for attempt in 1..=10 {
        let go = ["large", "small", "rest"].map(|name| server.path(&format!("{name}-{attempt}")));
        let [large, small, rest] = &go;
        // Who runs on keeps the server from having nothing to do at all.
        let sizes = [(":cpus 2", large), (":cpus 1", small), (":cpus 1", rest)];
        let run = server.submit(&sizes.map(|(header, go)| block(header, &go.display().to_string())).concat());
        for number in 1..=3 {
            wait_until(&server, &format!("{run}.{number}"), "running");
        }
        for go in [large, small] {
            let before = offers();
            fs::write(go, "").unwrap();
            poll_until(DEADLINE, "the freed resources are offered", || offers() > before);
        }
        let both = server.submit(&quick(":cpus 3"));
        let end = wait_until(&server, &format!("{both}.1"), "finished");
        assert_eq!((&end["attempt"], &end["exit_code"]), (&1.into(), &0.into()), "{end}");
        fs::write(rest, "").unwrap();
        wait_until(&server, &format!("{run}.3"), "finished");
        let accepted = |line: &str| {
            let ids = line.split_once("] Launching").and_then(|(ids, _)| ids.rsplit_once("[ "));
            ids.map_or(0, |(_, ids)| ids.split_whitespace().count())
        };
        if let Some(line) = server.log().lines().find(|line| accepted(line) == 2) {
            println!("attempt {attempt}: {line}");
            return;
        }
    }
    panic!("two offers never met:\n{}", server.log());
}

#[test]
#[ignore = "needs Mesos"]
fn idle_scheduler_suppresses_offers() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let gauge = || {
        let (_, all) = ask(&mesos.master.address, "/metrics/snapshot", None);
        let all = all.as_object().unwrap().clone();
        let mut ours = all.into_iter().filter(|(name, _)| name.ends_with("/roles/*/suppressed"));
        ours.next().map(|(_, value)| value.as_f64().unwrap())
    };
    let held = || {
        let (_, state) = ask(&mesos.master.address, "/master/state", None);
        state["frameworks"][0]["offers"].as_array().map_or(0, Vec::len)
    };
    let idle = || gauge() == Some(1.0) && held() == 0;
    poll_until(DEADLINE, "offers are suppressed, and none is kept", idle);
    let go = server.path("go");
    // One of eight cpus is used; the others are not kept.
    let run = server.submit(&block("", &go.display().to_string()));
    wait_until(&server, &format!("{run}.1"), "running");
    assert_eq!(gauge(), Some(0.0), "revived");
    poll_until(DEADLINE, "what is not needed is not kept", || held() == 0);
    fs::write(&go, "").unwrap();
    wait_until(&server, &format!("{run}.1"), "finished");
    poll_until(DEADLINE, "offers are suppressed again", idle);
    let run = server.submit(&quick(""));
    wait_until(&server, &format!("{run}.1"), "finished");
}

#[test]
#[ignore = "needs Mesos"]
fn block_avoids_an_agent_before_maintenance() {
    let mesos = Mesos::start();
    let server = server_on(&mesos.master.address);
    let now = std::process::Command::new("date").arg("+%s").output().unwrap().stdout;
    let now: i64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
    // All machines here are one for Mesos.
    let machine = json!({"hostname": "localhost", "ip": "127.0.0.1"});
    let unavailable = json!({"start": {"nanoseconds": (now + 1800) * 1_000_000_000}});
    let schedule = |windows: Value| {
        mesos.order(&json!({"type": "UPDATE_MAINTENANCE_SCHEDULE",
            "update_maintenance_schedule": {"schedule": {"windows": windows}}}));
    };
    schedule(json!([{"machine_ids": [machine], "unavailability": unavailable}]));
    let run = server.submit(&format!("{}{}", quick(""), quick(":timeout 10m")));
    wait_until(&server, &format!("{run}.2"), "finished");
    let task = format!("{run}.1");
    wait_for_reason(&server, &task, "line 1, ");
    wait_for_reason(
        &server,
        &task,
        " goes into maintenance before the block would end, which `:timeout` would tell",
    );
    schedule(json!([]));
    wait_until(&server, &task, "finished");
}
