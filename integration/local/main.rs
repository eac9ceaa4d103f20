//! The embedded cluster with real processes: `borges agent` as a scheduler and its blocks meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod agents;
mod blocks;
mod scheduler;
