//! What is done with offers, by the clock.

use super::*;
use borges_mesos::messages::resource::AllocationInfo;
use borges_mesos::messages::{AgentId, FrameworkId, OfferId, TimeInfo, Unavailability};
use borges_mesos::resources::Quantities;

const SECOND: Duration = Duration::from_secs(1);

/// A market at its beginning.
fn market() -> OfferPool {
    let mut market = OfferPool::default();
    market.subscribed(1, "f".to_owned(), Duration::ZERO);
    market
}

fn offer(id: &str, agent: &str, role: &str, port: u64) -> messages::Offer {
    let all =
        Quantities { milli_cpus: 1000, mem_mib: 64, ports: vec![(port, port)], ..Quantities::default() };
    messages::Offer {
        id: OfferId { value: id.to_owned() },
        framework_id: FrameworkId { value: "f".to_owned() },
        agent_id: AgentId { value: agent.to_owned() },
        allocation_info: Some(AllocationInfo { role: Some(role.to_owned()) }),
        resources: all.to_resources(Some(role)),
        ..messages::Offer::default()
    }
}

#[test]
fn offers_of_one_agent_to_one_role_are_one() {
    let mut market = market();
    let maintained = messages::Offer {
        unavailability: Some(Unavailability { start: TimeInfo { nanoseconds: 0 }, duration: None }),
        ..offer("4", "a", "x", 82)
    };
    let all = [
        offer("1", "a", "x", 80),
        offer("2", "b", "x", 80),
        offer("3", "a", "y", 81),
        maintained,
        offer("5", "a", "x", 84),
    ];
    for offer in all {
        assert!(market.add(offer, 1, SECOND).is_some());
    }
    assert_eq!(market.add(offer("6", "a", "x", 85), 2, SECOND), None, "it is of another subscription");
    let taken = market.take_unmatched();
    let told: Vec<_> = taken
        .iter()
        .map(|offer| (offer.ids.join("+"), &*offer.agent.id, offer.free.milli_cpus, offer.ports.as_slice()))
        .collect();
    let joint = [(80, 80), (82, 82), (84, 84)];
    assert_eq!(
        told,
        [
            ("1+4+5".to_owned(), "a", 3000, &joint[..]),
            ("2".to_owned(), "b", 1000, &[(80, 80)]),
            ("3".to_owned(), "a", 1000, &[(81, 81)]),
        ]
    );
    assert!(taken[0].maintenance.is_some() && taken[1].maintenance.is_none());
    assert_eq!(market.take_unmatched(), [], "the matcher has them");
    assert_eq!(market.recent(SECOND).count(), 5);
    assert_eq!(market.recent(SECOND + WINDOW + SECOND).count(), 0);
}

/// The ids that are declined, and for how long.
fn declined(request: Option<ClusterCall>) -> Option<(Vec<String>, u64)> {
    match request? {
        ClusterCall::Decline { offers, refuse, .. } => Some((offers, refuse.as_secs())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_kept_that_nobody_wants() {
    let mut market = market();
    market.add(offer("1", "a", "x", 80), 1, SECOND);
    market.add(offer("2", "b", "x", 80), 1, 2 * SECOND);
    assert_eq!(declined(market.decline_idle(SECOND, true)), None, "a run may want it in a moment");
    assert_eq!(declined(market.decline_idle(2 * SECOND, true)), Some((vec!["1".to_owned()], 5)));
    assert_eq!(declined(market.decline_idle(2 * SECOND, false)), Some((vec!["2".to_owned()], 3600)));
    assert_eq!(market.held(), 0);
}

#[test]
fn offers_are_asked_for_when_there_is_something_new_to_run() {
    let mut market = market();
    assert!(market.should_suppress() && !market.should_suppress(), "it is said once");
    assert!(!market.should_revive(SECOND), "nothing new waits");
    market.note_enqueued();
    assert!(market.should_revive(SECOND) && !market.should_revive(SECOND));
    assert!(market.should_suppress());
    market.note_enqueued();
    market.add(offer("1", "a", "x", 80), 1, SECOND);
    assert!(!market.should_revive(SECOND), "there is an offer");
    market.lost();
    assert!(market.should_revive(SECOND));
    assert!(!market.should_revive(50 * SECOND));
    assert!(market.should_revive(61 * SECOND), "the last asking may have been lost");
}
