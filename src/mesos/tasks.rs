//! A task's spec → the message that launches it.

use super::calls;
use super::messages::container_info::{self, DockerInfo, docker_info};
use super::messages::{
    AgentId, CommandInfo, ContainerInfo, Environment, Label, Labels, Resource, TaskId, TaskInfo,
    environment::Variable,
};
use super::parcel::Parcel;
use super::resources::Quantities;
use crate::task::{Ensure, LaunchId, Resources, TaskSpec};

/// The label of a task that names its working directory.
pub const DIRECTORY_LABEL: &str = "borges.dir";
/// The label of a task whose memory is a limit, because its document asks for so much.
pub const LIMITED_LABEL: &str = "borges.limited";
/// The label of a task that is to keep running, and may write for ever.
pub const SERVICE_LABEL: &str = "borges.service";
/// The label of a framework that says how many bytes each stream of its other tasks may have.
pub const MAX_OUTPUT_LABEL: &str = "borges.max-output";

/// The message that starts `launch` of a task on `agent`.
///
/// `command` is what is run, `data` a [`Parcel`] with its body and what lies beside it: how the parcel becomes
/// files of the sandbox is up to the cluster.
pub fn info(launch: LaunchId, spec: &TaskSpec, agent: &str, resources: Vec<Resource>) -> TaskInfo {
    let command = &spec.command;
    let own = [
        ("BORGES_RUN", launch.task.run.to_string()),
        ("BORGES_TASK", launch.task.to_string()),
        ("BORGES_BLOCK", spec.block.to_string()),
        ("BORGES_ATTEMPT", launch.attempt.to_string()),
        ("BORGES_INDEX", spec.index.to_string()),
    ]
    .map(|(name, value)| variable(name.to_owned(), value));
    let asked = command.environment.iter().map(|(name, value)| variable(name.clone(), value.clone()));
    let label = |key: &str, value: Option<String>| Label { key: key.to_owned(), value };
    let labels: Vec<Label> = [
        command.directory.as_ref().map(|directory| label(DIRECTORY_LABEL, Some(directory.to_string()))),
        spec.mem_is_limit.then(|| label(LIMITED_LABEL, None)),
        (spec.policy.ensure == Ensure::KeepsRunning).then(|| label(SERVICE_LABEL, None)),
    ]
    .into_iter()
    .flatten()
    .collect();
    TaskInfo {
        name: format!("{}/{launch}", spec.block),
        task_id: TaskId { value: launch.to_string() },
        agent_id: AgentId { value: agent.to_owned() },
        resources,
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some(command.program.to_string()),
            arguments: std::iter::once(command.program.to_string())
                .chain(command.arguments.iter().cloned())
                .collect(),
            environment: Some(Environment { variables: own.into_iter().chain(asked).collect() }),
            ..CommandInfo::default()
        }),
        container: command.image.as_deref().map(container),
        data: Some(Parcel::of(command).to_bytes()),
        labels: (!labels.is_empty()).then_some(Labels { labels }),
        max_completion_time: spec.policy.timeout.map(calls::duration),
        ..TaskInfo::default()
    }
}

/// A container of Docker's with the machine's own network; its image is fetched where it is not there.
fn container(image: &str) -> ContainerInfo {
    ContainerInfo {
        r#type: container_info::Type::Docker as i32,
        docker: Some(DockerInfo {
            image: image.to_owned(),
            network: Some(docker_info::Network::Host as i32),
            force_pull_image: Some(false),
            ..DockerInfo::default()
        }),
        ..ContainerInfo::default()
    }
}

/// What a task asks for, in the wire's terms.
pub fn quantities(resources: &Resources) -> Quantities {
    Quantities {
        milli_cpus: resources.milli_cpus,
        mem_mib: resources.mem,
        disk_mib: resources.disk,
        gpus: resources.gpus,
        ports: Vec::new(),
    }
}

/// What an offer holds, in our terms.
pub fn resources(quantities: &Quantities) -> Resources {
    Resources {
        milli_cpus: quantities.milli_cpus,
        mem: quantities.mem_mib,
        disk: quantities.disk_mib,
        gpus: quantities.gpus,
    }
}

fn variable(name: String, value: String) -> Variable {
    Variable { name, value: Some(value), ..Variable::default() }
}
