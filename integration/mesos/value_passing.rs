//! Values that pass between languages and agents: the document has the same bytes as on the embedded cluster.

use std::fs;

use serde_json::Value;

use super::server_on;
use support::mesos::Mesos;
use support::poll::{DEADLINE, poll_until};
use support::server::TestServer;

/// The document with its results from a server, and the agents of its blocks.
fn returned(server: &TestServer, document: &str) -> (String, Vec<String>) {
    let run = server.submit(document);
    let json = ["-H", "Accept: application/json"];
    let tasks = poll_until(DEADLINE, "the last of its blocks has ended", || {
        let (status, text) = server.curl(&json, &format!("/tasks?run={run}"));
        assert_eq!(status, 200, "{text}");
        let tasks = serde_json::from_str::<Value>(&text).unwrap()["tasks"].take();
        let finished = tasks.as_array().unwrap().iter().all(|task| task["state"] == "finished");
        if finished { Ok(tasks) } else { Err(tasks) }
    });
    let agents = tasks.as_array().unwrap().iter().map(|task| task["agent"].as_str().unwrap().to_owned());
    let (status, document) = server.curl(&[], &format!("/org/{run}.org"));
    assert_eq!(status, 200, "{document}");
    (document, agents.collect())
}

#[test]
#[ignore = "needs Mesos"]
fn values_are_passed_between_agents() {
    let mesos = Mesos::start();
    let [here, there] = [TestServer::start(), server_on(&mesos.master.address)];
    let [first, second] = [mesos.agent_id(0), mesos.agent_id(1)];
    let kept = support::repository("integration/fixtures/handed-on.org");
    let kept = fs::read_to_string(kept).unwrap();
    // As it is kept; and with a table that does not fit into a launch, so that agents have to fetch it.
    for document in [kept.clone(), kept.replace("rows=5", "rows=900").replace("green", &"green".repeat(90))] {
        let (expected, _) = returned(&here, &document);
        let (seen, agents) = returned(&there, &document);
        assert_eq!(agents, [&first, &second, &first, &second].map(String::as_str));
        assert!(seen == expected, "{seen}\n\nis not what the embedded cluster comes to:\n\n{expected}");
        assert!(document != kept || seen == kept, "{seen}");
        assert!(document == kept || seen.len() > 1_000_000, "{} bytes", seen.len());
    }
}
