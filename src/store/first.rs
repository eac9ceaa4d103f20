//! Runs as the first version stored them: a policy had no priority, no memory was a limit, and blocks were run as they
//! stand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::third;
use borges_plan::RecipesV4;
use borges_task::{
    Backoff, Command, Edge, Ensure, OnPartition, Policy, Resources, RetryLimit, RunId, TaskSpec,
};

#[derive(Deserialize)]
pub(super) struct Run {
    id: RunId,
    accepted: Timestamp,
    title: String,
    document: Bytes,
    key: Option<String>,
    tasks: Vec<Task>,
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Task {
    number: u32,
    block: Arc<str>,
    line: u32,
    index: u32,
    command: Command,
    resources: Resources,
    policy: PolicyV1,
    held: bool,
}

#[derive(Deserialize)]
struct PolicyV1 {
    ensure: Ensure,
    retry: RetryLimit,
    retry_on: Vec<i32>,
    backoff: Backoff,
    timeout: Option<Duration>,
    on_partition: OnPartition,
}

impl From<Run> for third::Run {
    fn from(run: Run) -> Self {
        let Run { id, accepted, title, document, key, tasks, edges } = run;
        let tasks = tasks.into_iter().map(|task| Arc::new(task.into())).collect();
        Self { id, accepted, title, document, key, tasks, edges, recipes: RecipesV4::default() }
    }
}

impl From<Task> for TaskSpec {
    fn from(task: Task) -> Self {
        let Task { number, block, line, index, command, resources, policy, held: requires_approval } = task;
        let PolicyV1 { ensure, retry, retry_on, backoff, timeout, on_partition } = policy;
        let policy = Policy { ensure, retry, retry_on, backoff, timeout, on_partition, priority: 0 }.into();
        Self {
            number,
            block,
            line,
            index,
            command,
            resources,
            policy,
            requires_approval,
            enforce_memory: false,
            requirements: None,
        }
    }
}
