//! Who tells whom what. Shells: no policy lives here, only messages and the order in which effects happen.
//!
//! ```text
//!   who submits ──send──► Parser (threads of its own)
//!        │
//!        └──send──► Scheduler ──send──► Keeper (a thread, the store's only user)
//!                     │  ▲  ▲                        ▲
//!   Matcher ◄──tell───┤  │  └─────tell─ Connection   │ send
//!   (own thread) ─tell┼──┤                 ▲  ▲      │
//!                     │  │                 │  │      │
//!                     ├──┼───tell──────────┘  │      │
//!                     │  │                    │      │
//!                     └─tell─► Supervisor ─send──────┤
//!                        └─tell──┘                   ▼
//!                                                   Feed ──► who follows
//! ```
//!
//! *send* waits for the answer, *tell* does not. Only the Parser and the Keeper are waited for, and they wait
//! for nobody; and, when a person kills a task, its Supervisor, which waits for the Keeper alone: there is no
//! circle of waits. What is told goes through mailboxes without a limit, so no fact
//! is dropped for want of room; limits stand where strangers are, at HTTP and at the feed's readers.
//!
//! A status update is saved, then acknowledged, then published. A launch is saved, then accepted. What is
//! published was saved, and numbered, in the same commit as what it tells of: after a crash nothing has
//! happened that is not told, and nothing was told that has not happened.
//!
//! | file | |
//! |---|---|
//! | `engine` | starts them all |
//! | `parser` | documents → plans |
//! | `scheduler` | runs, offers, who runs next |
//! | `run` | one run as the scheduler keeps it |
//! | `offer_pool` | offers that are not answered yet |
//! | `matcher` | the queue, and rounds of matching |
//! | `supervisor` | watches over one task |
//! | `subscription` | the subscription to a cluster |
//! | `store_writer` | the store's thread; numbers what has happened |
//! | `event_log` | what has happened, told to whoever follows |
//! | `failpoints` | bugs that tests plant |
//! | `counters` | what has happened, in numbers |

mod counters;
mod engine;
mod event_log;
mod failpoints;
mod matcher;
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
mod tests;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

pub use counters::{CALL_NAMES, Counter, Counters, ParseCounters};
pub use engine::{Engine, EngineError, EngineParts, ParserPool, StartError};
pub use event_log::{BatchTail, Delivery, EventSubscriber};
pub use parser::{ParseDocument, Parsed};
pub use scheduler::{
    DirectoryRead, FileRead, RunAccepted, RunOutputs, RunSummary, Stats, Submission, TaskSummary,
    WaitingGroup,
};
pub use store_writer::PersistError;
pub use subscription::FatalError;

/// Tells an actor something, and does not wait. The one place where a message can be lost: the actor is gone.
fn tell<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    if to.connected() {
        // Ignores the mailbox's limit, as wanted; a closed mailbox was looked for above.
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        to.do_send(message);
    } else {
        log::warn!("{} for an actor that is gone", std::any::type_name::<M>());
    }
}

/// As [`tell`], for one of whom only the message is known.
fn tell_recipient<M>(to: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    if to.connected() {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        to.do_send(message);
    } else {
        log::warn!("{} for an actor that is gone", std::any::type_name::<M>());
    }
}
