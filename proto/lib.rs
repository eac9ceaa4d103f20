//! The messages of Mesos v1, generated from the protobuf files beside this one; a scheduler's events and calls
//! are in [`scheduler`].
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/mesos.v1.rs"));

/// What a scheduler and a master say to each other.
pub mod scheduler {
    include!(concat!(env!("OUT_DIR"), "/mesos.v1.scheduler.rs"));
}

/// What one may ask an agent.
pub mod agent {
    include!(concat!(env!("OUT_DIR"), "/mesos.v1.agent.rs"));
}
