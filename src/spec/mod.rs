//! Document → task specs and their graph: which blocks run, in which order, with what.
//!
//! Pure. A document that is wrong in any place yields problems, all of them, and no plan: nothing of it
//! is launched.
//!
//! | file | |
//! |---|---|
//! | `plan` | the way through: document in, plan or problems out |
//! | `verdict` | which blocks run, and why others do not |
//! | `keys` | every header argument by name: ours, Babel's, not built yet |
//! | `values` | numbers, amounts, durations, words as documents write them |
//! | `arguments` | a block's header arguments → what its task asks for |
//! | `image` | which image a block runs in |
//! | `wishes` | ports and constraints as documents write them |
//! | `code` | a block's body as it runs, references expanded |
//! | `common` | what the tasks of a run have in common |
//! | `unclosed` | blocks that are not closed |
//! | `slips` | lines that were most likely meant otherwise |
//! | `candidate` | blocks and calls, and what is to be done with each |
//! | `units` | what runs beside the blocks themselves; what goes into each |
//! | `fingerprint` | by what two calls of a block are the same |
//! | `named` | what else a document calls by a name |
//! | `shared` | files that blocks hand to each other |
//! | `garbage` | bytes that are no text |
//! | `names` | what blocks are called, and whom they wait for by these names |
//! | `graph` | who waits for whom; cycles |
//! | `assemble` | what runs → tasks and edges |
//! | `recipe` | how tasks are put together from code and values, and what they yield |
//! | `several` | blocks that are several tasks |
//! | `gathered` | what these have yielded, as one value |
//! | `returned` | results into a document |
//! | `note` | what it notes of tasks that did not end well |
//! | `known` | what need not be run again |
//! | `progress` | which tasks are set free as others end |
//! | `problem` | what is wrong, where, and what to write instead |

mod arguments;
mod assemble;
mod candidate;
mod code;
mod common;
mod fingerprint;
mod garbage;
mod gathered;
mod graph;
mod image;
mod keys;
mod known;
mod named;
mod names;
mod note;
mod plan;
mod problem;
mod progress;
mod recipe;
mod returned;
mod several;
mod shared;
mod slips;
mod unclosed;
mod units;
mod values;
mod verdict;
mod wishes;

pub use known::{CARRIED, Caching, Carried, Key};
pub use note::{Ending, Note, note};
pub use plan::{Plan, Request, Skip, Variable, plan};
pub use problem::{Problem, Severity};
pub use progress::Progress;
pub use recipe::{Files, Recipes, RecipesOfOne, Values};
pub use returned::{Returned, Yield, returned};
