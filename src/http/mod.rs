//! The server's room: documents come in, states and output go out.
//!
//! It knows nothing of clusters and of how blocks run: it asks the actors, and words their answers.
//!
//! | file | |
//! |---|---|
//! | `body` | which document a client sent, however it spelt it (pure) |
//! | `multipart` | the only file of a form (pure) |
//! | `doors` | who may come in (pure) |
//! | `authority` | `Host` and `Origin`, taken apart (pure) |
//! | `credentials` | where a request carries the token (pure) |
//! | `peer` | whose process is at the other end |
//! | `token` | the secret that opens the doors, and its file |

mod authority;
mod body;
mod credentials;
mod doors;
mod multipart;
mod peer;
mod token;

pub use body::{BadBody, Received, document};
pub use credentials::{bearer, cookie_token, query_token, set_cookie};
pub use doors::{Facts, Rules, Verdict, judge, looks_local};
pub use peer::socket_owner;
pub use token::{Token, TokenError, TokenHash};
