//! Blocks that run in containers, through the `docker` command.
//!
//! The command, and not Docker's socket, because it knows `DOCKER_HOST`, contexts and the credentials of registries,
//! and explains its failures. Each container has a *shim*, as in containerd: a child process of the agent that creates
//! the container, waits for it, records its exit, and removes it. Agent and reaper treat the shim like any block's
//! process. The shim outlives both; if the shim itself is killed, a new one continues with the same container. The
//! block's output does not pass through Docker: a wrapper in the container writes it into the sandbox, which is mounted
//! there.
//!
//! | file | |
//! |---|---|
//! | `create` | the arguments of `docker create`, and the wrapper in the container (pure) |
//! | `docker_error` | classifies the errors of `docker`, and words them for people (pure) |
//! | `shim_state` | the files beside a sandbox through which agent and shim exchange their state |
//! | `docker` | runs the `docker` command |
//! | `shim` | the shim process |

pub(super) mod create;
mod docker;
mod docker_error;
mod shim;
pub(super) mod shim_state;

pub(super) use docker::remove;
pub(super) use shim::run;

/// The argument of `borges agent` that makes it a shim; the executor's directory follows.
pub(super) const SHIM_ARG: &str = "--container";
