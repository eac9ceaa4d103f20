//! Plans a document: which blocks run, in which order, with which inputs.
//!
//! This crate is pure. A document with errors yields all of its errors and no plan, so nothing of it is launched.
//!
//! | file | contents |
//! |---|---|
//! | `planner` | from a document to a plan or errors |
//! | `plan` | the plan of a document |
//! | `options` | what a caller asks of a document |
//! | `eligibility` | which blocks run, and why others do not |
//! | `keys` | the table of header arguments |
//! | `value_parsers` | numbers, amounts, durations, words |
//! | `arguments` | a block's header arguments → the options of its tasks |
//! | `image` | the Docker image of a block |
//! | `placement_args` | `:expose` and `:constraint` |
//! | `code` | a block's body with its noweb references expanded |
//! | `interner` | values that tasks share |
//! | `unclosed` | blocks that are not closed |
//! | `lints` | lines that were probably meant otherwise |
//! | `unit` | blocks, calls and inline code, each with its disposition |
//! | `builder` | the units of a document and their inputs |
//! | `select` | which units run |
//! | `fingerprint` | which calls of a block are the same |
//! | `named_elements` | named elements other than blocks |
//! | `dependency` | a dependency between two units |
//! | `file_dependencies` | dependencies through shared files |
//! | `encoding` | bytes that are not text |
//! | `symbols` | names of blocks and calls, and dependencies by name |
//! | `graph` | dependencies through inputs, and cycles |
//! | `assemble` | units → tasks, edges and recipes |
//! | `recipe` | how tasks are composed from code and values |
//! | `each_rows` | the rows of `:each` |
//! | `instances` | blocks with several instances |
//! | `instance_results` | the results of instances as one value |
//! | `write_back` | results into a document |
//! | `status_note` | notes about tasks that did not succeed |
//! | `cache_key` | the result cache and its keys |
//! | `cache_preview` | predicts cache hits for a dry run |
//! | `dependency_tracker` | tasks released or skipped as others change |
//! | `diagnostic` | errors and warnings |

mod arguments;
mod assemble;
mod builder;
mod cache_key;
mod cache_preview;
mod code;
mod dependency;
mod dependency_tracker;
mod diagnostic;
mod each_rows;
mod eligibility;
mod encoding;
mod file_dependencies;
mod fingerprint;
mod graph;
mod image;
mod instance_results;
mod instances;
mod interner;
mod keys;
mod lints;
mod named_elements;
mod options;
mod placement_args;
mod plan;
mod planner;
mod recipe;
mod select;
mod status_note;
mod symbols;
mod unclosed;
mod unit;
mod value_parsers;
mod write_back;

pub use cache_key::{CacheKey, CacheMode, EMBEDDED_ORIGIN, EmbeddedResult};
pub use cache_preview::{CachedOutput, predict_cache_hits};
pub use dependency_tracker::DependencyTracker;
pub use diagnostic::{Diagnostic, Severity};
pub use options::{PlanOptions, Variable};
pub use plan::{Plan, SkippedBlock};
pub use planner::plan;
pub use recipe::{Files, Recipes, Values};
pub use status_note::{StatusNote, TaskOutcome, note};
pub use write_back::{RunResults, UpdatedDocument, write_back};
