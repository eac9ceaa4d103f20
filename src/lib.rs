//! Borges: a literate cluster scheduler.
//!
//! An Org document goes in; each of its source blocks becomes a task on a cluster; states, output and
//! results come out. The way of the data, room by room:
//!
//! | room | what it does |
//! |---|---|
//! | [`org`] | text → document: blocks, names, header arguments (pure) |
//! | [`babel`] | the table of languages (pure) |
//! | [`task`] | what a task is, and how it changes: `step` (pure) |
//! | [`spec`] | document → task specs and their graph (pure) |
//! | [`offer`] | which task goes to which offer, and why not (pure) |
//! | [`mesos`] | the wire: messages, records, calls, events |
//! | [`local`] | the embedded one-machine cluster |
//! | [`store`] | what must survive |
//! | [`actors`] | who tells whom what |
//! | [`http`] | the server's routes |
//! | [`cli`] | arguments in, exit codes out |
//! | [`config`], [`clock`] | the setupfile as a value; the only time and chance |
//!
//! Arrows between the rooms point one way; `integration/arrows/` holds the table.

// The parser that pest makes without `std` names it.
extern crate alloc;

pub mod babel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod embedded;
pub mod engine;
pub mod http;
pub mod mesos;
pub mod org;
pub mod placement;
pub mod plan;
pub mod store;
pub mod task;
