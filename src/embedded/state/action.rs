//! [`Action`], the output of the state machine.

use std::rc::Rc;

use crate::launch_spec::Launch;
use crate::model::{ClientId, KillStage, StopReason};
use borges_mesos::messages::scheduler::{Event, event::Type};

/// An action that the driver is to execute; actions are executed in order.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send this event to a client.
    Send(ClientId, Box<Event>),
    /// Close a client's connection once all events are sent.
    Close(ClientId),
    /// Start this launch, and report with [`Agent::started`](super::Agent::started).
    Launch(Box<Launch>),
    /// Signal the process group of this launch.
    Signal(u64, KillStage),
    /// Write the stop note of this launch, which outlives the agent.
    RecordStop(u64, StopReason),
    /// Read the history of a framework's launch, and report with
    /// [`Agent::launch_looked_up`](super::Agent::launch_looked_up).
    LookUpLaunch(Rc<str>, String),
    /// Kill everything that still runs, and shut the agent down.
    Shutdown,
}

/// Sends an event of this type to a client.
pub(super) fn send(client: ClientId, kind: Type, event: Event, actions: &mut Vec<Action>) {
    actions.push(Action::Send(client, Box::new(Event { r#type: Some(kind as i32), ..event })));
}
