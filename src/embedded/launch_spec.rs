//! [`LaunchSpec`], what the agent starts for a task: read from a `TaskInfo`, and refused with a message if the embedded
//! cluster does not support it (pure).

use std::fmt;
use std::rc::Rc;

use super::image::Image;
use super::model::is_valid_id;
use borges_mesos::messages::{TaskInfo, environment::variable};
use borges_mesos::payload::TaskPayload;
use borges_mesos::resources::Quantities;
use borges_mesos::task_info::{DIRECTORY_LABEL, ENFORCE_MEMORY_LABEL, SERVICE_LABEL};
use borges_task::Command;

/// The path of a block's body in its sandbox. An argument equal to it means that file.
pub const BODY_ARG: &str = Command::BODY;

/// Bytes of each stream of a service that are kept, at least.
pub(crate) const TAIL_BYTES: u64 = 20 << 20;

/// The limits of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// The memory limit in MiB; `None` if memory is not enforced.
    pub(crate) memory: Option<u64>,
    pub(crate) output: OutputLimit,
}

/// How much of each output stream of a block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OutputLimit {
    /// Everything.
    #[default]
    Unlimited,
    /// Everything, up to this number of bytes; a block that writes more fails.
    Capped(u64),
    /// The last [`TAIL_BYTES`] bytes: a service may write for ever.
    Tail,
}

/// The text in the process table: `memory 64 whole 1073741824`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mib) = self.memory {
            write!(f, "memory {mib} ")?;
        }
        match self.output {
            OutputLimit::Unlimited => Ok(()),
            OutputLimit::Capped(bytes) => write!(f, "whole {bytes}"),
            OutputLimit::Tail => write!(f, "last {TAIL_BYTES}"),
        }
    }
}

impl Limits {
    /// Reads the text that `Display` writes; unknown words are no limit.
    pub(crate) fn parse(text: &str) -> Self {
        let mut limits = Self::default();
        let mut words = text.split_ascii_whitespace();
        while let (Some(word), Some(amount)) = (words.next(), words.next()) {
            match (word, amount.parse()) {
                ("memory", Ok(mib)) => limits.memory = Some(mib),
                ("whole", Ok(bytes)) => limits.output = OutputLimit::Capped(bytes),
                ("last", Ok(_)) => limits.output = OutputLimit::Tail,
                _ => {}
            }
        }
        limits
    }
}

/// A launch that is to be started.
#[derive(Debug, PartialEq)]
pub(crate) struct Launch {
    /// The number of the launch, by which the state machine and the processes refer to it.
    pub(crate) key: u64,
    pub(crate) framework: Rc<str>,
    pub(crate) id: Rc<str>,
    pub(crate) spec: LaunchSpec,
}

/// What the agent starts for one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchSpec {
    /// A name that is looked up on PATH, or a path.
    pub(crate) program: String,
    /// The complete argv.
    pub(crate) arguments: Vec<String>,
    /// Environment variables in addition to the agent's own; later ones win.
    pub(crate) environment: Vec<(String, String)>,
    /// The working directory, absolute or relative to the sandbox; `None` for the sandbox.
    pub(crate) directory: Option<String>,
    /// The image of its container; `None` for a process on this machine.
    pub(crate) image: Option<Image>,
    /// The files that are written into the sandbox before the start, and the block's stdin.
    pub(crate) payload: TaskPayload,
    /// The agent's resources that the launch uses.
    pub(crate) resources: Quantities,
    pub(crate) limits: Limits,
}

impl LaunchSpec {
    /// Reads a task. `output` is its framework's output limit, which a service does not have. `Err` is the message
    /// of a `TASK_ERROR`.
    pub(crate) fn of(task: TaskInfo, output: OutputLimit) -> Result<Self, String> {
        if !is_valid_id(&task.task_id.value) {
            return Err(format!("`{}` is no task id", task.task_id.value));
        }
        let resources = Quantities::of(&task.resources);
        if resources == Quantities::default() {
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
                    if is_variable_name(&variable.name) && !value.contains('\0') =>
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
        let has_label = |name: &str| labels.iter().any(|label| label.key == name);
        let limits = Limits {
            memory: has_label(ENFORCE_MEMORY_LABEL).then_some(resources.mem_mib),
            output: if has_label(SERVICE_LABEL) { OutputLimit::Tail } else { output },
        };
        let directory =
            labels.into_iter().find(|label| label.key == DIRECTORY_LABEL).and_then(|label| label.value);
        if directory.as_ref().is_some_and(|directory| directory.contains('\0')) {
            return Err("the task's working directory has a NUL in it".to_owned());
        }
        let payload = task.data.map(TaskPayload::from_bytes).transpose()?.unwrap_or_default();
        Ok(Self { program, arguments, environment, directory, image, payload, resources, limits })
    }
}

impl LaunchSpec {
    /// Whether an argument is the path of a payload file, relative to the sandbox.
    pub(crate) fn is_payload_file(&self, argument: &str) -> bool {
        argument.starts_with("block/") && self.payload.files.iter().any(|file| file.path == argument)
    }
}

fn is_variable_name(name: &str) -> bool {
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
    fn commands_are_programs_or_shell_lines() {
        let argv = |command| {
            let spec = LaunchSpec::of(task("t", command), OutputLimit::Unlimited).unwrap();
            format!("{} {:?}", spec.program, spec.arguments)
        };
        let python = CommandInfo { arguments: vec!["python".into(), BODY_ARG.into()], ..run("python3") };
        insta::assert_snapshot!(argv(python), @r#"python3 ["python", "block/body"]"#);
        insta::assert_snapshot!(argv(run("true")), @r#"true ["true"]"#);
        let line = CommandInfo { shell: None, value: Some("exit 3".into()), ..CommandInfo::default() };
        insta::assert_snapshot!(argv(line), @r#"/bin/sh ["sh", "-c", "exit 3"]"#);
    }

    #[test]
    fn environment_directory_and_payload_are_read() {
        let variable = |name: &str, value: &str| Variable {
            name: name.into(),
            value: Some(value.into()),
            ..Variable::default()
        };
        let environment = Some(Environment { variables: vec![variable("A", "1"), variable("A", "2=3")] });
        let label = Label { key: DIRECTORY_LABEL.into(), value: Some("/home".into()) };
        let task = TaskInfo {
            labels: Some(Labels { labels: vec![label] }),
            data: Some(TaskPayload::body("true").to_bytes()),
            ..task("t", CommandInfo { environment, ..run("sh") })
        };
        let spec = LaunchSpec::of(task, OutputLimit::Capped(7)).unwrap();
        assert_eq!(spec.limits, Limits { memory: None, output: OutputLimit::Capped(7) });
        assert_eq!(spec.environment, [("A".into(), "1".into()), ("A".into(), "2=3".into())]);
        assert_eq!(spec.directory.as_deref(), Some("/home"));
        assert_eq!(spec.payload, TaskPayload::body("true"));
    }

    #[test]
    fn limits_come_from_the_task_and_its_framework() {
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
    fn limits_survive_the_round_trip_through_text() {
        for memory in [None, Some(64)] {
            for output in [OutputLimit::Unlimited, OutputLimit::Capped(1 << 30), OutputLimit::Tail] {
                let limits = Limits { memory, output };
                assert_eq!(Limits::parse(&limits.to_string()), limits);
            }
        }
        assert_eq!(Limits::parse("memory much whole"), Limits::default());
    }

    #[test]
    fn unsupported_tasks_are_refused_with_a_message() {
        let error_of = |task: TaskInfo| LaunchSpec::of(task, OutputLimit::Unlimited).unwrap_err();
        let good = || task("t", run("sh"));
        insta::assert_snapshot!(error_of(task("a/b", run("sh"))), @"`a/b` is no task id");
        insta::assert_snapshot!(error_of(TaskInfo { resources: vec![], ..good() }), @"the task asks for no resources");
        insta::assert_snapshot!(error_of(TaskInfo { command: None, ..good() }), @"the task has no command");
        insta::assert_snapshot!(error_of(task("t", run(""))), @"the task's command is empty");
        insta::assert_snapshot!(error_of(task("t", run("s\0h"))), @"the task's command has a NUL in it");
        insta::assert_snapshot!(
            error_of(TaskInfo { executor: Some(ExecutorInfo::default()), ..good() }),
            @"the embedded cluster runs commands, not executors"
        );
        insta::assert_snapshot!(
            error_of(TaskInfo { container: Some(ContainerInfo::default()), ..good() }),
            @"the task's container has no image"
        );
        let uris = vec![command_info::Uri { value: "http://h/x".into(), ..command_info::Uri::default() }];
        insta::assert_snapshot!(
            error_of(task("t", CommandInfo { uris, ..run("sh") })),
            @"the embedded cluster fetches nothing, and was asked for `http://h/x`"
        );
        let variables = vec![Variable { name: "A=B".into(), value: Some("1".into()), ..Variable::default() }];
        insta::assert_snapshot!(
            error_of(task("t", CommandInfo { environment: Some(Environment { variables }), ..run("sh") })),
            @"the environment variable `A=B` has no plain value"
        );
    }
}
