//! Which waiting task goes to which offer, and why not.
//!
//! Pure: offers and tasks in, placements and reasons out. Knows nothing of the wire an offer came over,
//! nor of what happens to the launches it proposes.
//!
//! | file | |
//! |---|---|
//! | `queue` | the tasks that wait: whose turn it is |
//! | `matching` | `match_offers`: one round of placing them |
//! | `round` | the offers of a round, and how each demand walks along them |
//! | `first_fit` | free amounts, and the first that are enough |
//! | `ports` | ports out of what an offer has |
//! | `agent` | what is known of agents |
//! | `constraints` | whether an agent meets constraints |
//! | `peer_locations` | where the tasks are that constraints compare others with |
//! | `maintenance` | when an agent will be away |
//! | `reason` | why a task was not placed, in the document's words |
//! | `recent_offers` | what was offered of late, and why something fitted none of it |
//! | `pending_reason` | why a task does not run yet, in the document's words |

mod agent;
mod constraints;
mod first_fit;
mod maintenance;
mod matching;
mod peer_locations;
mod pending_reason;
mod ports;
mod queue;
mod reason;
mod recent_offers;
mod round;

pub use agent::Agent;
pub use maintenance::MaintenanceWindow;
pub use matching::{Assignment, MatchResult, Offer, Placement, match_offers};
pub use peer_locations::{Peer, PeerLocations};
pub use pending_reason::{Dependency, OfferHistory, PendingReason, Since, WINDOW};
pub use queue::Queue;
pub use reason::{PlacementFailure, ResourceKind};
pub use recent_offers::RecentOffers;
