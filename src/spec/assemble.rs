//! What runs → tasks, edges, and what is skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::task::{Command, Edge, TaskSpec};

use super::candidate::{Candidate, Fate};
use super::graph::Wait;
use super::names::Names;
use super::plan::{Plan, Request, Skip};
use super::problem::Problem;

/// The plan of blocks that may run, and that wait for each other so.
pub(super) fn assemble(
    candidates: Vec<Candidate>,
    names: &Names,
    waits: &[Wait],
    warnings: Vec<Problem>,
    request: &Request,
) -> Plan {
    let mut plan = Plan { warnings, ..Plan::default() };
    let mut numbers = vec![0; candidates.len()];
    // A hundred thousand blocks are run by a handful of programs.
    let mut commands = BTreeMap::new();
    for (place, Candidate { fate, .. }) in candidates.into_iter().enumerate() {
        let (name, (file, line)) = (names.title(place), names.place(place));
        match fate {
            Fate::NotAsked => {}
            Fate::Skipped(reason) => plan.skipped.push(Skip { block: name, file, line, reason }),
            Fate::Runs { language, asked, held, body, .. } => {
                let (program, arguments): &(Arc<str>, Arc<[String]>) = commands
                    .entry((language.program, language.arguments))
                    .or_insert_with_key(|(program, arguments)| {
                        let body = Command::BODY.to_owned();
                        (program.as_str().into(), arguments.iter().cloned().chain([body]).collect())
                    });
                numbers[place] = u32::try_from(plan.tasks.len() + 1).unwrap_or(u32::MAX);
                plan.included.extend(file.map(|file| (numbers[place], file)));
                plan.tasks.push(Arc::new(TaskSpec {
                    number: numbers[place],
                    block: name.into(),
                    line,
                    index: 1,
                    command: Command {
                        program: program.clone(),
                        arguments: arguments.clone(),
                        environment: asked.environment,
                        directory: match &asked.image {
                            // The document's directory is none of a container's.
                            Some(_) => asked.directory,
                            None => directory(asked.directory, request),
                        },
                        image: asked.image,
                        body: body.into(),
                        files: Vec::new(),
                        stdin: None,
                    },
                    resources: asked.resources,
                    policy: asked.policy,
                    held,
                }));
            }
        }
    }
    plan.edges = waits
        .iter()
        .map(|wait| Edge { from: numbers[wait.from], to: numbers[wait.to], requirement: wait.requirement })
        .collect();
    // Of two edges between the same tasks the stronger, which sorts last, says it all.
    plan.edges.sort_unstable_by_key(|edge| (edge.from, edge.to, std::cmp::Reverse(edge.requirement)));
    plan.edges.dedup_by_key(|edge| (edge.from, edge.to));
    plan
}

/// `:dir`, seen from where the request says blocks start.
fn directory(asked: Option<String>, request: &Request) -> Option<String> {
    let Some(asked) = asked else { return request.directory.clone() };
    if let Some(home) = &request.home
        && let Some(rest) = asked.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return Some(format!("{home}{rest}"));
    }
    match &request.directory {
        Some(directory) if !asked.starts_with('/') => Some(format!("{directory}/{asked}")),
        _ => Some(asked),
    }
}
