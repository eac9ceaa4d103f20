//! Tests that run the real program: its commands, its server and its clusters.
//!
//! Each module is a suite of `integration/check`. Plain `cargo test` leaves out the tests that need root, or programs that a
//! Debian with a C compiler, git, curl and Python does not have; `integration/check` runs them too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod api;
mod babel;
mod chaos;
mod client_commands;
mod compatibility;
mod complexity;
mod disk_faults;
mod docker;
mod documents_e2e;
mod embedded;
mod http_api;
mod http_robustness;
mod invalid_documents;
mod mesos;
mod network_access;
mod org;
mod protocol_trace;
mod readme;
mod resource_limits;
mod results;
mod server;
mod websocket;
