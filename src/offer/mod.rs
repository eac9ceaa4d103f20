//! Which waiting task goes to which offer, and why not.
//!
//! Pure: offers and tasks in, placements and reasons out. Knows nothing of the wire an offer came over,
//! nor of what happens to the launches it proposes.
//!
//! | file | |
//! |---|---|
//! | `queue` | the tasks that wait: whose turn it is |
//! | `matching` | `match_offers`: one round of placing them |
//! | `table` | the offers of a round, and how each demand walks along them |
//! | `shelf` | free amounts, and the first that are enough |
//! | `ports` | ports out of what an offer has |
//! | `agent` | what is known of agents |
//! | `terms` | whether an agent meets constraints |
//! | `spread` | where the tasks are that constraints compare others with |
//! | `window` | when an agent will be away |
//! | `reason` | why a task was not placed, in the document's words |
//! | `recent` | what was offered of late, and why something fitted none of it |
//! | `why` | why a task does not run yet, in the document's words |

mod agent;
mod matching;
mod ports;
mod queue;
mod reason;
mod recent;
mod shelf;
mod spread;
mod table;
mod terms;
mod why;
mod window;

pub use agent::Agent;
pub use matching::{Matching, Offer, Placement, Seat, match_offers};
pub use queue::Queue;
pub use reason::{Kind, Reason};
pub use recent::Recent;
pub use spread::{Peer, Spread};
pub use why::{Offered, Other, Since, WINDOW, Why};
pub use window::Window;
