//! The embedded cluster with real processes: `borges agent`, between a scheduler and blocks.

mod agents;
mod blocks;
mod scheduler;
