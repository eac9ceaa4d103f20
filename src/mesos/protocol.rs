//! The path and header of the v1 scheduler API, and the errors that its responses stand for.

use super::master::MasterError;
use super::responses::ResponseKind;

/// The path of the scheduler API. Masters also serve it below `/master`.
pub(super) const SCHEDULER_PATH: &str = "/api/v1/scheduler";

/// The header that ties calls to a subscription.
pub(super) const STREAM_ID_HEADER: &str = "Mesos-Stream-Id";

/// The error that a response stands for; `status` and `body` are those of the response.
pub(super) fn to_error(master: String, status: u16, kind: &ResponseKind, body: String) -> MasterError {
    let message = if body.is_empty() { format!("it answers {status}") } else { body };
    match kind {
        ResponseKind::NotSubscribed => MasterError::NotSubscribed,
        ResponseKind::NotReady | ResponseKind::Redirect(_) => MasterError::NotReady { master, message },
        ResponseKind::StaleStream => MasterError::StaleStream { message },
        ResponseKind::Unauthorised => MasterError::Rejected {
            master,
            message: "it does not know this principal and secret (`borges_principal`, `borges_secret_file`)"
                .to_owned(),
        },
        ResponseKind::NoMaster => {
            MasterError::Rejected { master, message: format!("it is no Mesos master: it answers {status}") }
        }
        ResponseKind::Accepted | ResponseKind::Rejected => MasterError::Rejected { master, message },
    }
}
