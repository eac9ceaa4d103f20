//! Assigns waiting tasks to offers, and explains why a task is not placed.
//!
//! This crate is pure: offers and tasks in, placements and reasons out. It knows neither the wire format of offers nor
//! the launches that follow from its placements.
//!
//! | file | contents |
//! |---|---|
//! | `offer` | an offer, its agent and the agent's maintenance window |
//! | `queue` | the tasks that wait for an offer, in service order |
//! | `matching` | `match_offers`: one round of placement |
//! | `round` | the offers of a round, and a cursor over them for each request |
//! | `first_fit` | an index of free amounts: the first offer that fits |
//! | `ports` | allocation of ports from an offer's ranges |
//! | `constraints` | checks of agents against placement constraints |
//! | `peer_locations` | the agents of running tasks that constraints compare |
//! | `reason` | why a task was not placed, in terms of its document |
//! | `recent_offers` | recent offers, and why a request fits none of them |
//! | `pending_reason` | why a task does not run yet, in terms of its document |

mod constraints;
mod first_fit;
mod matching;
mod offer;
mod peer_locations;
mod pending_reason;
mod ports;
mod queue;
mod reason;
mod recent_offers;
mod round;

pub use matching::{Assignment, MatchResult, Placement, match_offers};
pub use offer::{Agent, MaintenanceWindow, Offer};
pub use peer_locations::{Peer, PeerLocations};
pub use pending_reason::{Dependency, OfferHistory, PendingReason, Since, WINDOW};
pub use queue::Queue;
pub use reason::{PlacementFailure, ResourceKind};
pub use recent_offers::RecentOffers;
