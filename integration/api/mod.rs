//! The API against its description: schemathesis generates requests from `/openapi.json`, and the parser of Prometheus
//! reads `/metrics`.
//!
//! Both are Python programs, which `integration/check python` installs.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;
use support::server::TestServer;

/// A program of the packages in `requirements.txt`, which `integration/check python` installs.
fn python_program(program: &str) -> PathBuf {
    let path = support::repository("target/python/bin").join(program);
    assert!(path.exists(), "{} is missing: run `integration/check python`", path.display());
    path
}

fn stdout_of(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{said}{}", String::from_utf8_lossy(&stderr));
    said
}

/// A server with a block that has finished and one that has failed.
fn server_with_tasks() -> TestServer {
    let server = TestServer::with_setupfile("#+borges_max_document: 64K\n");
    let run = server.submit("#+name: a\n#+begin_src sh\necho out; echo err >&2; mkdir d; echo x > d/x.csv\n#+end_src\n#+name: b\n#+begin_src sh :after a\nexit 3\n#+end_src\n");
    server.wait_for_state(&format!("{run}.2"), "failed");
    server
}

#[test]
#[ignore = "needs Python packages: integration/check python"]
fn every_response_matches_the_openapi_description() {
    let seed = env::var("BORGES_TEST_SEED").unwrap_or_else(|_| "20261123".to_owned());
    println!("seed {seed}: BORGES_TEST_SEED sets another one");
    let server = server_with_tasks();
    let config = support::repository("integration/api/schemathesis.toml");
    // JSON, with all that follows from the ids in answers; then text.
    for (arguments, examples) in [
        (&["-H", "Accept: application/json", "--phases", "coverage,fuzzing,stateful"][..], "30"),
        (&["--phases", "coverage,fuzzing"], "10"),
    ] {
        let said = stdout_of(
            Command::new(python_program("st"))
                .args(["--no-color", "--config-file"])
                .arg(&config)
                .args(["run", &format!("http://{}/openapi.json", server.address)])
                .args(["--continue-on-failure", "--request-timeout", "20"])
                .args(["--seed", &seed, "--max-examples", examples])
                .args(arguments)
                .current_dir(server.path(".")),
        );
        println!("{said}");
    }
    assert_eq!(server.curl(&[], "/healthz").0, 200);
    let varz: Value = serde_json::from_str(&server.curl(&[], "/varz").1).unwrap();
    let requests = varz["metrics"]["borges_http_requests_total"].as_object().unwrap();
    assert!(requests.len() > 14, "{requests:?}");
    for (route, statuses) in requests {
        let failed =
            statuses.as_object().unwrap().keys().any(|status| status.starts_with('5') || status == "other");
        assert!(!failed, "{route}: {statuses}");
    }
}

const READ: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families
samples = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.type in ('counter', 'gauge'), family
    for sample in family.samples:
        at = samples.setdefault(sample.name, {})
        for label in list(sample.labels.values())[:-1]:
            at = at.setdefault(label, {})
        at[list(sample.labels.values() or [''])[-1]] = sample.value
print(json.dumps(samples))
";

#[test]
#[ignore = "needs Python packages: integration/check python"]
fn varz_and_metrics_agree() {
    let server = server_with_tasks();
    let run = server.submit("#+name: a\n#+begin_src sh\nexec sleep 600\n#+end_src\n");
    server.wait_for_state(&format!("{run}.1"), "running");
    fs::write(server.path("metrics"), server.curl(&[], "/metrics").1).unwrap();
    let varz: Value = serde_json::from_str(&server.curl(&[], "/varz").1).unwrap();
    let script = format!("{} < metrics", "exec \"$0\" -c \"$1\"");
    let said = stdout_of(
        Command::new("sh")
            .args(["-c", &script])
            .arg(python_program("python"))
            .arg(READ)
            .current_dir(server.path(".")),
    );
    let read: Value = serde_json::from_str(&said).unwrap();
    let told = varz["metrics"].as_object().unwrap();
    assert_eq!(told.len(), read.as_object().unwrap().len(), "{read}");
    for (name, value) in told {
        // What goes on by itself between the two questions.
        let moves = ["seconds", "http_requests", "offers", "calls", "status_updates", "store"];
        if moves.iter().any(|part| name.contains(part)) {
            continue;
        }
        let alone = &read[name][""];
        let same = if alone.is_null() { &read[name] } else { alone };
        assert_eq!(floats(value), floats(same), "{name}");
    }
    let state = |state: &str| told["borges_tasks"][state].as_u64().unwrap();
    assert_eq!((state("finished"), state("failed"), state("running")), (1, 1, 1));
    assert_eq!(told["borges_launches_total"], 3);
    assert_eq!(told["borges_documents_read_total"], 2);
    assert_eq!(varz["cluster"]["master"], "local");
    assert_eq!(varz["cluster"]["connected"], true);
}

/// The same value with all numbers as floats, as in Prometheus.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Object(pairs) => pairs.iter().map(|(name, value)| (name.clone(), floats(value))).collect(),
        other => other.clone(),
    }
}
