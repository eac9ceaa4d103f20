//! Classifies a master's response to a call by its status and body, and the error that ends a subscription.

/// What is to be made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseKind {
    /// The call is taken; of a SUBSCRIBE, events follow.
    Accepted,
    /// Another master leads: where, as `HOST:PORT`.
    Redirect(String),
    /// It works, but not now.
    NotReady,
    /// The master holds us for disconnected: only a new subscription helps.
    NotSubscribed,
    /// The call belongs to a subscription that is no longer ours: what became of that, its own stream tells.
    StaleStream,
    /// Our name or secret is not accepted.
    Unauthorised,
    /// The call is wrong, or forbidden, and will be so again.
    Rejected,
    /// Whoever answers is no Mesos master.
    NoMaster,
}

/// What an answer means; `location` is the header of that name, `body` the body.
///
/// Source: Mesos, `src/master/http.cpp`, `Http::scheduler`.
pub fn classify(status: u16, location: Option<&str>, body: &str) -> ResponseKind {
    match status {
        200 | 202 => ResponseKind::Accepted,
        307 => match location.and_then(authority) {
            Some(leader) => ResponseKind::Redirect(leader.to_owned()),
            None => ResponseKind::NotReady,
        },
        401 => ResponseKind::Unauthorised,
        // To subscribe again now could be to fight whoever took over: its error is on the way to us.
        400 if body.contains("tream ID") || body.contains("Mesos-Stream-Id") => ResponseKind::StaleStream,
        400 if body.contains("Framework cannot be found") => ResponseKind::StaleStream,
        403 if body.contains("not subscribed") => ResponseKind::NotSubscribed,
        404 | 405 => ResponseKind::NoMaster,
        // Busy with something that this call contradicts, or that must come to its end first.
        409 | 425 | 429 => ResponseKind::NotReady,
        500..=599 => ResponseKind::NotReady,
        _ => ResponseKind::Rejected,
    }
}

/// `HOST:PORT` of an address with or without a scheme: `//10.0.0.1:5050/master/api/v1/scheduler`.
fn authority(location: &str) -> Option<&str> {
    let rest = location.split_once("//").map_or(location, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = authority.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(authority)
}

/// Why a master ended a subscription by an ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionError {
    /// Another scheduler subscribed with our framework id: to come back would be to fight it.
    Replaced,
    /// The framework id is burnt: by a TEARDOWN, or because nobody subscribed for too long.
    Removed,
    /// Something that may be mended: a role, a permission, a limit.
    Other,
}

impl SubscriptionError {
    /// Reads the master's words.
    pub fn of(message: &str) -> Self {
        if message.contains("failed over") {
            Self::Replaced
        } else if message.contains("has been removed") || message.contains("is removed") {
            Self::Removed
        } else {
            Self::Other
        }
    }

    /// What a person is told.
    pub fn message(self, reason: &str) -> String {
        match self {
            Self::Replaced => format!(
                "another Borges has subscribed with the same framework id, so this one stops ({reason}): a state \
                 directory, or a copy of it, is for one Borges alone"
            ),
            Self::Removed => format!(
                "the cluster has removed this framework ({reason}): it was torn down, or nobody was subscribed \
                 for longer than its failover timeout. What it ran has been ended there. Start with \
                 `--new-framework` to take a new framework id and launch again what had not ended"
            ),
            Self::Other => format!("the cluster ended the subscription: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn responses_are_classified() {
        let location = Some("//master.example:5050/master/api/v1/scheduler");
        let cases = [
            (200, None, ""),
            (202, None, ""),
            (307, location, ""),
            (307, Some("http://10.0.0.1:5050/x"), ""),
            (307, Some("nowhere"), ""),
            (307, None, ""),
            (400, None, "Failed to parse body into Call protobuf"),
            (400, None, "Framework cannot be found"),
            (400, None, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"),
            (400, None, "The stream ID 'a' included in this request didn't match the stream ID"),
            (401, None, ""),
            (403, None, "Framework is not subscribed"),
            (403, None, "Not authorized to use role 'x'"),
            (404, None, ""),
            (405, None, ""),
            (406, None, ""),
            (409, None, "Conflict"),
            (415, None, ""),
            (418, None, ""),
            (500, None, ""),
            (503, None, "Master has not finished recovery"),
        ];
        let mut table = String::new();
        for (status, location, body) in cases {
            let kind = classify(status, location, body);
            writeln!(table, "{status} {:30.30} {kind:?}", location.unwrap_or(body)).unwrap();
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn only_200_and_202_are_accepted() {
        for status in 0..=999 {
            let is_accepted = classify(status, None, "") == ResponseKind::Accepted;
            assert_eq!(is_accepted, matches!(status, 200 | 202), "{status}");
        }
    }

    #[test]
    fn subscription_errors_are_recognized_by_their_message() {
        for (message, error) in [
            ("Framework failed over", SubscriptionError::Replaced),
            ("Framework has been removed", SubscriptionError::Removed),
            ("Roles {nobody} are not present in the master's --roles", SubscriptionError::Other),
        ] {
            assert_eq!(SubscriptionError::of(message), error);
            assert!(error.message(message).contains(message));
        }
    }
}
