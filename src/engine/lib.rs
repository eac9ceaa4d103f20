//! The engine: the actors that run documents on a cluster.
//!
//! This crate holds messages and the order of effects. The policies are in the crates `task`, `plan` and `placement`.
//!
//! ```text
//!   client ──send──► Parser (own threads)
//!     │
//!     └──send──► Scheduler ──send──► StoreHandle (own thread, the only user of the store)
//!                  │  ▲  ▲                        ▲
//!   Matcher ◄──tell┤  │  └─────tell─ Connection   │ send
//!   (own thread) ─tell┤                 ▲  ▲      │
//!                  │  │                 │  │      │
//!                  ├──┼───tell──────────┘  │      │
//!                  │  │                    │      │
//!                  └─tell─► Supervisor ─send──────┤
//!                     └─tell──┘                   ▼
//!                                             EventLog ──► subscribers
//! ```
//!
//! *send* waits for the reply, *tell* does not. Only the parser, the store and, for a kill, the supervisor are waited for.
//! The parser and the store wait for no actor, and the supervisor waits for the store only, so that there is no deadlock.
//! Mailboxes have no limit, so that no message is dropped. The limits are in `http` and in the ring of the event log.
//!
//! A status update is stored, then acknowledged, then published. A launch is stored, then accepted. An event is stored
//! and numbered in the same commit as the change that it reports, so that a crash loses neither without the other.
//!
//! | file | |
//! |---|---|
//! | `engine` | starts the actors; the handle for other crates |
//! | `error` | the errors of the engine |
//! | `threading` | which actors share a thread |
//! | `parser` | parses documents and makes plans |
//! | `scheduler` | runs, offers, and the choice of the next task |
//! | `run` | a run in the memory of the scheduler |
//! | `offer_pool` | the offers that are not answered yet |
//! | `matcher` | the queue, and rounds of matching |
//! | `supervisor` | supervises one task |
//! | `messages` | the messages between the scheduler and the supervisors |
//! | `subscription` | the subscription to a cluster |
//! | `store_writer` | the thread of the store; numbers the events |
//! | `event_log` | publishes the stored events to subscribers |
//! | `failpoints` | bugs that tests enable |
//! | `counters` | counters for metrics |

mod counters;
mod engine;
mod error;
mod event_log;
mod failpoints;
mod matcher;
mod messages;
mod offer_pool;
mod parser;
mod run;
mod scheduler;
#[cfg(test)]
mod simulation;
mod store_writer;
mod subscription;
mod supervisor;
#[cfg(test)]
mod test_env;
#[cfg(test)]
mod tests;
mod threading;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

pub use counters::{CALL_NAMES, Counter, Counters, ParseCounters};
pub use engine::{Engine, EngineParts, ParserPool};
pub use error::{EngineError, PersistError, StartError};
pub use event_log::{BatchTail, Delivery, EventSubscriber};
pub use parser::{ParseDocument, Parsed};
pub use scheduler::messages::Submission;
pub use scheduler::replies::{
    DirectoryRead, FileRead, RunAccepted, RunOutputs, RunProgress, Stats, TaskProgress, WaitingGroup,
};
pub use subscription::FatalError;

/// Sends a message to an actor without waiting. The message is lost if the actor has stopped.
fn tell<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    if to.connected() {
        // `do_send` ignores the limit of the mailbox. The mailbox is open.
        #[expect(clippy::disallowed_methods, reason = "the only place that sends without waiting")]
        to.do_send(message);
    } else {
        log::warn!("{} for an actor that is gone", std::any::type_name::<M>());
    }
}

/// [`tell`] for a recipient of one message.
fn tell_recipient<M>(to: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    if to.connected() {
        #[expect(clippy::disallowed_methods, reason = "the only place that sends without waiting")]
        to.do_send(message);
    } else {
        log::warn!("{} for an actor that is gone", std::any::type_name::<M>());
    }
}
