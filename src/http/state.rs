//! The state that the request handlers share.

use bytes::Bytes;
use jiff::Timestamp;

use super::requests::RequestCounters;
use borges_clock::Clock;
use borges_engine::{Engine, ParserPool};
use borges_org::HeaderArgsProperty;
use borges_plan::PlanOptions;
use borges_store::Cache;

/// What the request handlers share.
pub(super) struct AppState {
    pub(super) engine: Engine,
    pub(super) parser: ParserPool,
    pub(super) clock: Clock,
    pub(super) address: String,
    pub(super) master: String,
    pub(super) started: Timestamp,
    pub(super) header_args: Vec<HeaderArgsProperty>,
    pub(super) plan_options: PlanOptions,
    pub(super) max_document: usize,
    pub(super) max_blocks: usize,
    pub(super) cache: Cache,
    pub(super) requests: RequestCounters,
    /// The body of `/openapi.json`.
    pub(super) description: Bytes,
}
