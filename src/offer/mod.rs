//! Which waiting task goes to which offer, and why not.
//!
//! Pure: offers and tasks in, placements and reasons out. Knows nothing of the wire an offer came over,
//! nor of what happens to the launches it proposes.
//!
//! | file | |
//! |---|---|
//! | `queue` | the tasks that wait, by what they ask for, oldest first |
//! | `matching` | `match_offers`: one round of placing them |
//! | `reason` | why a task was not placed |
//! | `why` | why a task does not run yet, in the document's words |

mod matching;
mod queue;
mod reason;
mod why;

pub use matching::{Matching, Offer, Placement, match_offers};
pub use queue::Queue;
pub use reason::{Kind, Reason, Sizes};
pub use why::{Offered, Other, Since, WINDOW, Why};
