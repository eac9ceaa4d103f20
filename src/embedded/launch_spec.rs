//! A task's description → what is to be done for it, or words why it cannot be.

use super::container::Image;
use super::limits::{Limits, OutputLimit};
use super::paths::is_name;
use borges_mesos::messages::{TaskInfo, environment::variable};
use borges_mesos::payload::TaskPayload;
use borges_mesos::resources::Quantities;
use borges_mesos::task_info::{DIRECTORY_LABEL, ENFORCE_MEMORY_LABEL, SERVICE_LABEL};
use borges_task::Command;

/// Where a block's text lies in its sandbox; an argument that is this word means that file.
pub const BODY_ARG: &str = Command::BODY;

/// What is to be done for one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchSpec {
    /// A name to be found on PATH, or a path.
    pub(crate) program: String,
    /// All of argv.
    pub(crate) arguments: Vec<String>,
    /// What is set beside the agent's own few; a later one wins.
    pub(crate) environment: Vec<(String, String)>,
    /// Absolute, or relative to the sandbox; without one, the sandbox.
    pub(crate) directory: Option<String>,
    /// What it runs in; without one, this machine itself.
    pub(crate) image: Option<Image>,
    /// What lies in the sandbox before it starts, and what it reads.
    pub(crate) parcel: TaskPayload,
    /// What it holds of the agent.
    pub(crate) held: Quantities,
    pub(crate) limits: Limits,
}

impl LaunchSpec {
    /// Reads a task, of which `output` is kept unless it is a service. An error says what is wrong with it, for
    /// `TASK_ERROR`.
    pub(crate) fn of(task: TaskInfo, output: OutputLimit) -> Result<Self, String> {
        if !is_name(&task.task_id.value) {
            return Err(format!("`{}` is no task id", task.task_id.value));
        }
        let held = Quantities::of(&task.resources);
        if held == Quantities::default() {
            return Err("the task asks for no resources".to_owned());
        }
        let command = match (task.command, task.executor) {
            (Some(command), None) => command,
            (None, None) => return Err("the task has no command".to_owned()),
            (_, Some(_)) => return Err("the embedded cluster runs commands, not executors".to_owned()),
        };
        let image = task.container.map(Image::of).transpose()?;
        if let Some(uri) = command.uris.first() {
            return Err(format!("the embedded cluster fetches nothing, and was asked for `{}`", uri.value));
        }
        let mut environment = Vec::new();
        for variable in command.environment.map(|environment| environment.variables).unwrap_or_default() {
            match (variable.r#type(), variable.value) {
                (variable::Type::Value | variable::Type::Unknown, Some(value))
                    if is_variable(&variable.name) && !value.contains('\0') =>
                {
                    environment.push((variable.name, value));
                }
                _ => return Err(format!("the environment variable `{}` has no plain value", variable.name)),
            }
        }
        let value = command.value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| "the task's command is empty".to_owned())?;
        let (program, arguments) = if command.shell.unwrap_or(true) {
            ("/bin/sh".to_owned(), vec!["sh".to_owned(), "-c".to_owned(), value])
        } else if command.arguments.is_empty() {
            (value.clone(), vec![value])
        } else {
            (value, command.arguments)
        };
        if program.contains('\0') || arguments.iter().any(|argument| argument.contains('\0')) {
            return Err("the task's command has a NUL in it".to_owned());
        }
        let labels = task.labels.map(|labels| labels.labels).unwrap_or_default();
        let has = |name: &str| labels.iter().any(|label| label.key == name);
        let limits = Limits {
            memory: has(ENFORCE_MEMORY_LABEL).then_some(held.mem_mib),
            output: if has(SERVICE_LABEL) { OutputLimit::Tail } else { output },
        };
        let directory =
            labels.into_iter().find(|label| label.key == DIRECTORY_LABEL).and_then(|label| label.value);
        if directory.as_ref().is_some_and(|directory| directory.contains('\0')) {
            return Err("the task's working directory has a NUL in it".to_owned());
        }
        let parcel = task.data.map(TaskPayload::from_bytes).transpose()?.unwrap_or_default();
        Ok(Self { program, arguments, environment, directory, image, parcel, held, limits })
    }
}

impl LaunchSpec {
    /// Whether an argument means a file of the sandbox, wherever the block starts.
    pub(crate) fn is_own_file(&self, argument: &str) -> bool {
        argument.starts_with("block/") && self.parcel.files.iter().any(|file| file.path == argument)
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_mesos::messages::{
        CommandInfo, ContainerInfo, Environment, ExecutorInfo, Label, Labels, TaskId, command_info,
        environment::Variable,
    };

    fn task(id: &str, command: CommandInfo) -> TaskInfo {
        let resources = Quantities { milli_cpus: 1, ..Quantities::default() }.to_resources(None);
        TaskInfo {
            task_id: TaskId { value: id.to_owned() },
            command: Some(command),
            resources,
            ..TaskInfo::default()
        }
    }

    fn run(program: &str) -> CommandInfo {
        CommandInfo { shell: Some(false), value: Some(program.to_owned()), ..CommandInfo::default() }
    }

    #[test]
    fn a_command_is_a_program_or_a_line_for_the_shell() {
        let argv = |command| {
            let work = LaunchSpec::of(task("t", command), OutputLimit::Unlimited).unwrap();
            format!("{} {:?}", work.program, work.arguments)
        };
        let python = CommandInfo { arguments: vec!["python".into(), BODY_ARG.into()], ..run("python3") };
        insta::assert_snapshot!(argv(python), @r#"python3 ["python", "block/body"]"#);
        insta::assert_snapshot!(argv(run("true")), @r#"true ["true"]"#);
        let line = CommandInfo { shell: None, value: Some("exit 3".into()), ..CommandInfo::default() };
        insta::assert_snapshot!(argv(line), @r#"/bin/sh ["sh", "-c", "exit 3"]"#);
    }

    #[test]
    fn environment_and_directory_are_taken_over() {
        let variable = |name: &str, value: &str| Variable {
            name: name.into(),
            value: Some(value.into()),
            ..Variable::default()
        };
        let environment = Some(Environment { variables: vec![variable("A", "1"), variable("A", "2=3")] });
        let label = Label { key: DIRECTORY_LABEL.into(), value: Some("/home".into()) };
        let described = TaskInfo {
            labels: Some(Labels { labels: vec![label] }),
            data: Some(TaskPayload::body("true").to_bytes()),
            ..task("t", CommandInfo { environment, ..run("sh") })
        };
        let work = LaunchSpec::of(described, OutputLimit::Capped(7)).unwrap();
        assert_eq!(work.limits, Limits { memory: None, output: OutputLimit::Capped(7) });
        assert_eq!(work.environment, [("A".into(), "1".into()), ("A".into(), "2=3".into())]);
        assert_eq!(work.directory.as_deref(), Some("/home"));
        assert_eq!(work.parcel, TaskPayload::body("true"));
    }

    #[test]
    fn limits_are_those_of_the_task_and_of_its_framework() {
        let limits = |labels: &[&str]| {
            let label = |key: &&str| Label { key: (*key).to_owned(), value: None };
            let labels = Some(Labels { labels: labels.iter().map(label).collect() });
            let resources = Quantities { mem_mib: 64, ..Quantities::default() }.to_resources(None);
            let task = TaskInfo { labels, resources, ..task("t", run("sh")) };
            LaunchSpec::of(task, OutputLimit::Capped(7)).unwrap().limits.to_string()
        };
        assert_eq!(limits(&[]), "whole 7");
        assert_eq!(limits(&[ENFORCE_MEMORY_LABEL]), "memory 64 whole 7");
        assert_eq!(limits(&[ENFORCE_MEMORY_LABEL, SERVICE_LABEL]), "memory 64 last 20971520");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let no = |task: TaskInfo| LaunchSpec::of(task, OutputLimit::Unlimited).unwrap_err();
        let good = || task("t", run("sh"));
        insta::assert_snapshot!(no(task("a/b", run("sh"))), @"`a/b` is no task id");
        insta::assert_snapshot!(no(TaskInfo { resources: vec![], ..good() }), @"the task asks for no resources");
        insta::assert_snapshot!(no(TaskInfo { command: None, ..good() }), @"the task has no command");
        insta::assert_snapshot!(no(task("t", run(""))), @"the task's command is empty");
        insta::assert_snapshot!(no(task("t", run("s\0h"))), @"the task's command has a NUL in it");
        insta::assert_snapshot!(
            no(TaskInfo { executor: Some(ExecutorInfo::default()), ..good() }),
            @"the embedded cluster runs commands, not executors"
        );
        insta::assert_snapshot!(
            no(TaskInfo { container: Some(ContainerInfo::default()), ..good() }),
            @"the task's container has no image"
        );
        let uris = vec![command_info::Uri { value: "http://h/x".into(), ..command_info::Uri::default() }];
        insta::assert_snapshot!(
            no(task("t", CommandInfo { uris, ..run("sh") })),
            @"the embedded cluster fetches nothing, and was asked for `http://h/x`"
        );
        let variables = vec![Variable { name: "A=B".into(), value: Some("1".into()), ..Variable::default() }];
        insta::assert_snapshot!(
            no(task("t", CommandInfo { environment: Some(Environment { variables }), ..run("sh") })),
            @"the environment variable `A=B` has no plain value"
        );
    }
}
