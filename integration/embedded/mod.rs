//! The embedded cluster with real processes: `borges agent` as a scheduler and its blocks meet it.

mod agents;
mod blocks;
mod scheduler;
