//! Builds the message that launches a task from the task's spec.

use super::calls;
use super::messages::container_info::{self, DockerInfo, docker_info};
use super::messages::{
    AgentId, CommandInfo, ContainerInfo, Environment, Label, Labels, Resource, TaskId, TaskInfo,
    environment::Variable,
};
use super::payload::TaskPayload;
use super::resources::{Quantities, normalize_ranges};
use borges_placement::Agent;
use borges_task::{Ensure, LaunchId, Port, Resources, TaskSpec};

/// The label of a task that names its working directory.
pub const DIRECTORY_LABEL: &str = "borges.dir";
/// The label of a task whose memory is a limit, because its document asks for so much.
pub const ENFORCE_MEMORY_LABEL: &str = "borges.limited";
/// The label of a task that is to keep running, and may write for ever.
pub const SERVICE_LABEL: &str = "borges.service";
/// The label of a framework that says how many bytes each stream of its other tasks may have.
pub const MAX_OUTPUT_LABEL: &str = "borges.max-output";

/// The message that starts `launch` of a task on `agent`, with the agent's `ports` for its own.
///
/// `command` is what is run, `data` a [`TaskPayload`] with its body and what lies beside it: how the payload becomes
/// files of the sandbox is up to the cluster.
pub fn task_info(
    launch: LaunchId,
    spec: &TaskSpec,
    agent: &Agent,
    ports: &[u16],
    resources: Vec<Resource>,
) -> TaskInfo {
    let command = &spec.command;
    let task_variables = [
        ("BORGES_RUN", launch.task.run.to_string()),
        ("BORGES_TASK", launch.task.to_string()),
        ("BORGES_BLOCK", spec.block.to_string()),
        ("BORGES_ATTEMPT", launch.attempt.to_string()),
        ("BORGES_INDEX", spec.index.to_string()),
    ]
    .map(|(name, value)| variable(name.to_owned(), value));
    let ports: Vec<(u16, Port)> = ports.iter().copied().zip(spec.ports().iter().copied()).collect();
    let port_variables =
        port_variables(&agent.hostname, &ports).into_iter().map(|(name, value)| variable(name, value));
    let block_variables =
        command.environment.iter().map(|(name, value)| variable(name.clone(), value.clone()));
    let label = |key: &str, value: Option<String>| Label { key: key.to_owned(), value };
    let labels: Vec<Label> = [
        command.directory.as_ref().map(|directory| label(DIRECTORY_LABEL, Some(directory.to_string()))),
        spec.enforce_memory.then(|| label(ENFORCE_MEMORY_LABEL, None)),
        (spec.policy.ensure == Ensure::KeepsRunning).then(|| label(SERVICE_LABEL, None)),
    ]
    .into_iter()
    .flatten()
    .collect();
    TaskInfo {
        name: format!("{}/{launch}", spec.block),
        task_id: TaskId { value: launch.to_string() },
        agent_id: AgentId { value: agent.id.clone() },
        resources,
        command: Some(CommandInfo {
            shell: Some(false),
            value: Some(command.program.to_string()),
            arguments: std::iter::once(command.program.to_string())
                .chain(command.arguments.iter().cloned())
                .collect(),
            environment: Some(Environment {
                variables: task_variables.into_iter().chain(port_variables).chain(block_variables).collect(),
            }),
            ..CommandInfo::default()
        }),
        container: command.image.as_deref().map(|image| container(image, &ports)),
        data: Some(TaskPayload::of(command).to_bytes()),
        labels: (!labels.is_empty()).then_some(Labels { labels }),
        max_completion_time: spec.policy.timeout.map(calls::duration),
        ..TaskInfo::default()
    }
}

/// The variables that tell a task where it listens: those of Marathon. None where it requested for no ports.
///
/// `PORT` and `PORT0`, `PORT1` …, `PORTS`, and `PORT_80` for what is 80 within its container, are the agent's
/// ports; `HOST` is its name. Source: Marathon, "Task Environment Variables".
fn port_variables(hostname: &str, ports: &[(u16, Port)]) -> Vec<(String, String)> {
    let Some((first, _)) = ports.first() else { return Vec::new() };
    let all: Vec<String> = ports.iter().map(|(port, _)| port.to_string()).collect();
    let mut variables = vec![
        ("HOST".to_owned(), hostname.to_owned()),
        ("PORT".to_owned(), first.to_string()),
        ("PORTS".to_owned(), all.join(",")),
    ];
    for (place, &(port, requested)) in ports.iter().enumerate() {
        variables.push((format!("PORT{place}"), port.to_string()));
        variables.push((format!("PORT_{}", container_port(port, requested)), port.to_string()));
    }
    variables
}

/// The port within the task's container that an agent's port maps to.
fn container_port(port: u16, requested: Port) -> u16 {
    if requested.container == 0 { port } else { requested.container }
}

/// A container of Docker's; its image is fetched where it is not there.
///
/// It has the machine's own network, or, where a port is another within than without, Docker's bridge, with its
/// ports mapped.
fn container(image: &str, ports: &[(u16, Port)]) -> ContainerInfo {
    let is_mapped = ports.iter().any(|&(port, requested)| container_port(port, requested) != port);
    let mapping = |&(port, requested): &(u16, Port)| docker_info::PortMapping {
        host_port: port.into(),
        container_port: container_port(port, requested).into(),
        protocol: None,
    };
    ContainerInfo {
        r#type: container_info::Type::Docker as i32,
        docker: Some(DockerInfo {
            image: image.to_owned(),
            network: Some(
                if is_mapped { docker_info::Network::Bridge } else { docker_info::Network::Host } as i32
            ),
            port_mappings: if is_mapped { ports.iter().map(mapping).collect() } else { Vec::new() },
            force_pull_image: Some(false),
            ..DockerInfo::default()
        }),
        ..ContainerInfo::default()
    }
}

/// What a task is given, in the wire's terms.
pub fn quantities(resources: &Resources, ports: &[u16]) -> Quantities {
    Quantities {
        milli_cpus: resources.milli_cpus,
        mem_mib: resources.mem,
        disk_mib: resources.disk,
        gpus: resources.gpus,
        ports: normalize_ranges(ports.iter().map(|&port| (port.into(), port.into())).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [(u16, Port); 3] = [
        (8080, Port { host: 8080, container: 80 }),
        (31_007, Port { host: 0, container: 443 }),
        (31_008, Port { host: 0, container: 0 }),
    ];

    #[test]
    fn ports_are_announced_in_environment_variables() {
        let variables: Vec<String> =
            port_variables("h", &PORTS).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(variables.join(" "), @"HOST=h PORT=8080 PORTS=8080,31007,31008 PORT0=8080 PORT_80=8080 PORT1=31007 PORT_443=31007 PORT2=31008 PORT_31008=31008");
        assert_eq!(port_variables("h", &[]), []);
    }

    #[test]
    fn container_uses_the_host_network_unless_ports_are_mapped() {
        let docker = |ports: &[(u16, Port)]| container("redis", ports).docker.unwrap();
        let host = docker(&[(6379, Port { host: 6379, container: 6379 }), PORTS[2]]);
        assert_eq!((host.network(), host.port_mappings.len()), (docker_info::Network::Host, 0));
        let bridge = docker(&PORTS);
        assert_eq!(bridge.network(), docker_info::Network::Bridge);
        let ports: Vec<_> =
            bridge.port_mappings.iter().map(|it| format!("{}:{}", it.host_port, it.container_port)).collect();
        assert_eq!(ports, ["8080:80", "31007:443", "31008:31008"]);
    }
}
