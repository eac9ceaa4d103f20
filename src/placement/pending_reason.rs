//! Why a task does not run yet, in terms of its document. Pure: computed from the state of task and cluster.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::reason::PlacementFailure;
use super::recent_offers::RecentOffers;
use borges_task::{ResourceRequest, State};

/// Offers that count for a reason are at most so old.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Since when something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The time of day.
    pub at: Timestamp,
    /// How long ago that is.
    pub ago: Duration,
}

/// What is known of what a cluster has offered.
#[derive(Debug, Clone)]
pub struct OfferHistory<'a> {
    /// Why there is no subscription, and since when; `None` where there is one.
    pub connection_error: Option<(&'a str, Since)>,
    /// Whose resources are asked for.
    pub role: &'a str,
    /// The offers of the last [`WINDOW`].
    pub recent: RecentOffers<'a>,
    /// When the last one came, or, without any, when the subscription began.
    pub last: Since,
}

/// Another block that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// Its name.
    pub block: &'a str,
    /// Its line.
    pub line: u32,
    /// Where it stands.
    pub state: State,
}

/// Why a task does not run yet.
#[derive(Debug, Clone, PartialEq)]
pub enum PendingReason<'a> {
    /// There is no cluster.
    ClusterUnreachable(&'a str, Since),
    /// Nothing was offered of late.
    NoOffers(&'a str, Since),
    /// What was offered did not do.
    NoFittingOffer(PlacementFailure),
    /// It waits for others.
    Dependencies(Vec<Dependency<'a>>),
    /// It waits for a person.
    Approval,
    /// The pause before another launch.
    Backoff {
        /// What is left of it.
        left: Duration,
        /// The launch that ended.
        launch: u32,
        /// With this code, if it had one.
        exit_code: Option<i32>,
    },
    /// It was accepted, and nothing was heard of it yet.
    AwaitingStatus(&'a str, Since),
    /// Nobody can tell whether it runs.
    AgentUnreachable(&'a str, Since),
    /// It is to end.
    Killing(Since),
}

impl<'a> PendingReason<'a> {
    /// Why what asks for `request` has no offer.
    pub fn queued(request: &ResourceRequest, history: &OfferHistory<'a>) -> Self {
        if let Some((connection_error, since)) = history.connection_error {
            Self::ClusterUnreachable(connection_error, since)
        } else if history.recent.is_empty() {
            Self::NoOffers(history.role, history.last)
        } else {
            Self::NoFittingOffer(history.recent.reason(request))
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ({} s)", self.at, self.ago.as_secs())
    }
}

impl fmt::Display for PendingReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterUnreachable(connection_error, since) => {
                write!(f, "the cluster is out of reach since {since}: {connection_error}")
            }
            Self::NoOffers(role, since) => write!(f, "no offers for role `{role}` since {since}"),
            Self::NoFittingOffer(reason) => reason.fmt(f),
            Self::Dependencies(dependencies) => {
                f.write_str("waits for block ")?;
                for (index, Dependency { block, line, state }) in dependencies.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}`{block}` (line {line}, {state})")?;
                }
                Ok(())
            }
            Self::Approval => f.write_str("waits for approval"),
            Self::Backoff { left, launch, exit_code } => {
                // The second that is begun counts.
                let seconds = left.as_millis().div_ceil(1000);
                write!(f, "backs off for {seconds} s more: launch {launch} ended")?;
                exit_code.map_or(Ok(()), |code| write!(f, " with exit code {code}"))
            }
            Self::AwaitingStatus(agent, since) => {
                write!(f, "agent `{agent}` was asked to start it at {since}, and has not answered yet")
            }
            Self::AgentUnreachable(agent, since) => {
                write!(f, "agent `{agent}` is out of reach since {since}: it may run there still")
            }
            Self::Killing(since) => write!(f, "was told to end at {since}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::sync::Arc;

    use super::super::{Offer, PeerLocations};
    use super::*;
    use borges_task::Resources;

    fn since(seconds: u64) -> Since {
        let now = Timestamp::from_second(1_795_677_131).unwrap();
        Since { at: now - Duration::from_secs(seconds), ago: Duration::from_secs(seconds) }
    }

    fn request(milli_cpus: u64, mem: u64) -> ResourceRequest {
        ResourceRequest {
            resources: Resources { milli_cpus, mem, ..Resources::default() },
            ..ResourceRequest::default()
        }
    }

    fn offer(milli_cpus: u64, mem: u64) -> Offer {
        Offer {
            ids: Vec::new(),
            agent: Arc::default(),
            free: request(milli_cpus, mem).resources,
            ports: Vec::new(),
            maintenance: None,
        }
    }

    fn history<'a>(recent: &'a [Offer], spread: &'a PeerLocations) -> OfferHistory<'a> {
        let recent = RecentOffers::new(recent, spread, Timestamp::UNIX_EPOCH);
        OfferHistory { connection_error: None, role: "x", recent, last: since(95) }
    }

    #[test]
    fn reasons_display_in_document_terms() {
        let seven = [2812, 100, 64, 64, 64, 64, 64].map(|mem| offer(4000, mem));
        let two = [offer(4000, 32), offer(100, 4096)];
        let spread = PeerLocations::default();
        let history = |recent| history(recent, &spread);
        let lost = OfferHistory {
            connection_error: Some(("`m:5050` does not answer", since(70))),
            ..history(&seven)
        };
        let fetch = Dependency { block: "fetch", line: 3, state: State::Running };
        let clean = Dependency { block: "clean", line: 9, state: State::Blocked };
        let left = Duration::from_millis(11_001);
        let cases: [PendingReason<'_>; 14] = [
            PendingReason::queued(&request(1000, 4096), &history(&seven)),
            PendingReason::queued(&request(1000, 4096), &history(&seven[..1])),
            PendingReason::queued(&request(4500, 64), &history(&seven)),
            PendingReason::queued(&request(1000, 64), &history(&seven)),
            PendingReason::queued(&request(1000, 64), &history(&two)),
            PendingReason::queued(&request(1000, 64), &history(&[])),
            PendingReason::queued(&request(1000, 64), &lost),
            PendingReason::Dependencies(vec![fetch]),
            PendingReason::Dependencies(vec![fetch, clean]),
            PendingReason::Approval,
            PendingReason::Backoff { left, launch: 2, exit_code: Some(3) },
            PendingReason::Backoff { left: Duration::ZERO, launch: 1, exit_code: None },
            PendingReason::AwaitingStatus("a1", since(4)),
            PendingReason::AgentUnreachable("a1", since(300)),
        ];
        let mut table = String::new();
        for reason in cases {
            writeln!(table, "{reason}").unwrap();
        }
        insta::assert_snapshot!(table, @r"
        :mem 4096: the largest of 7 offers in the last 60 s had 2812 MB
        :mem 4096: the one offer in the last 60 s had 2812 MB
        :cpu 4.5: the largest of 7 offers in the last 60 s had 4
        it would fit: others came first
        none of 2 offers in the last 60 s had all that is asked for at once
        no offers for role `x` since 2026-11-26T07:10:36Z (95 s)
        the cluster is out of reach since 2026-11-26T07:11:01Z (70 s): `m:5050` does not answer
        waits for block `fetch` (line 3, running)
        waits for block `fetch` (line 3, running), `clean` (line 9, blocked)
        waits for approval
        backs off for 12 s more: launch 2 ended with exit code 3
        backs off for 0 s more: launch 1 ended
        agent `a1` was asked to start it at 2026-11-26T07:12:07Z (4 s), and has not answered yet
        agent `a1` is out of reach since 2026-11-26T07:07:11Z (300 s): it may run there still
        ");
        assert_eq!(
            PendingReason::Killing(since(4)).to_string(),
            "was told to end at 2026-11-26T07:12:07Z (4 s)"
        );
    }
}
