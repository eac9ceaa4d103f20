//! Document → task specs and their graph: which blocks run, in which order, with what.
//!
//! Pure. A document that is wrong in any place yields problems, all of them, and no plan: nothing of it
//! is launched.
//!
//! | file | |
//! |---|---|
//! | `planner` | the way through: document in, plan or problems out |
//! | `plan` | the plan of a document |
//! | `options` | what a caller asks of a document |
//! | `select` | which units run |
//! | `dependency` | a dependency between two units |
//! | `each_rows` | the rows of `:each` |
//! | `eligibility` | which blocks run, and why others do not |
//! | `keys` | every header argument by name: ours, Babel's, not built yet |
//! | `value_parsers` | numbers, amounts, durations, words as documents write them |
//! | `arguments` | a block's header arguments → what its task asks for |
//! | `image` | which image a block runs in |
//! | `placement_args` | ports and constraints as documents write them |
//! | `code` | a block's body as it runs, references expanded |
//! | `interner` | what the tasks of a run have in common |
//! | `unclosed` | blocks that are not closed |
//! | `lints` | lines that were most likely meant otherwise |
//! | `unit` | blocks and calls, and what is to be done with each |
//! | `builder` | what runs beside the blocks themselves; what goes into each |
//! | `fingerprint` | by what two calls of a block are the same |
//! | `named_elements` | what else a document calls by a name |
//! | `file_dependencies` | files that blocks hand to each other |
//! | `encoding` | bytes that are no text |
//! | `symbols` | what blocks are called, and whom they wait for by these names |
//! | `graph` | who waits for whom; cycles |
//! | `assemble` | what runs → tasks and edges |
//! | `recipe` | how tasks are put together from code and values, and what they yield |
//! | `instances` | blocks that are several tasks |
//! | `instance_results` | what these have yielded, as one value |
//! | `write_back` | results into a document |
//! | `status_note` | what it notes of tasks that did not end well |
//! | `cache_key` | what need not be run again |
//! | `dependency_tracker` | which tasks are set free as others end |
//! | `diagnostic` | what is wrong, where, and what to write instead |

mod arguments;
mod assemble;
mod builder;
mod cache_key;
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
pub use dependency_tracker::DependencyTracker;
pub use diagnostic::{Diagnostic, Severity};
pub use options::{PlanOptions, Variable};
pub use plan::{Plan, SkippedBlock};
pub use planner::plan;
pub use recipe::{Files, Recipes, RecipesV4, Values};
pub use status_note::{StatusNote, TaskOutcome, note};
pub use write_back::{RunResults, UpdatedDocument, write_back};
