//! The harness that tests and benchmarks share.
//!
//! | module | |
//! |---|---|
//! | `agreement` | two reports on a document, compared field by field |
//! | `cli` | the program on documents in a folder of its own, and its output |
//! | `docker` | a Docker daemon with images of its own |
//! | `features` | what some machines do not offer |
//! | `mesos` | a real Mesos: a master and agents |
//! | `namespaces` | network namespaces |
//! | `poll` | waiting with a deadline |
//! | `program` | the program under test |
//! | `server` | a server with a state directory of its own, and curl |
//! | `websocket` | a websocket client |
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where its harness fails")]
#![allow(clippy::missing_panics_doc, reason = "as above")]

pub mod agreement;
pub mod cli;
pub mod docker;
pub mod features;
pub mod mesos;
pub mod namespaces;
pub mod poll;
pub mod program;
pub mod server;
pub mod websocket;

use std::path::{Path, PathBuf};

/// A file or folder of the repository, by its path from the root.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// The `lisp` folder of the Org that Emacs is to use, from `ORG_LISP`; `None` for Emacs' own.
///
/// A relative path is one from the root of the repository.
pub fn org_lisp() -> Option<PathBuf> {
    std::env::var_os("ORG_LISP").map(|path| repository("").join(path))
}
