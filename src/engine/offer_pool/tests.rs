//! Tests of the offer pool: merging, declining, REVIVE and SUPPRESS.

use super::*;
use borges_mesos::messages::resource::AllocationInfo;
use borges_mesos::messages::{AgentId, FrameworkId, OfferId, TimeInfo, Unavailability};
use borges_mesos::resources::Quantities;

const SECOND: Duration = Duration::from_secs(1);

/// An offer pool after a subscription.
fn offer_pool() -> OfferPool {
    let mut offer_pool = OfferPool::default();
    offer_pool.subscribed(1, "f".to_owned(), Duration::ZERO);
    offer_pool
}

fn offer(id: &str, agent: &str, role: &str, port: u64) -> messages::Offer {
    let quantities =
        Quantities { milli_cpus: 1000, mem_mib: 64, ports: vec![(port, port)], ..Quantities::default() };
    messages::Offer {
        id: OfferId { value: id.to_owned() },
        framework_id: FrameworkId { value: "f".to_owned() },
        agent_id: AgentId { value: agent.to_owned() },
        allocation_info: Some(AllocationInfo { role: Some(role.to_owned()) }),
        resources: quantities.to_resources(Some(role)),
        ..messages::Offer::default()
    }
}

#[test]
fn offers_of_one_agent_and_role_are_merged() {
    let mut offer_pool = offer_pool();
    let with_maintenance = messages::Offer {
        unavailability: Some(Unavailability { start: TimeInfo { nanoseconds: 0 }, duration: None }),
        ..offer("4", "a", "x", 82)
    };
    let quantities = [
        offer("1", "a", "x", 80),
        offer("2", "b", "x", 80),
        offer("3", "a", "y", 81),
        with_maintenance,
        offer("5", "a", "x", 84),
    ];
    for offer in quantities {
        assert!(offer_pool.add(offer, 1, SECOND).is_some());
    }
    assert_eq!(
        offer_pool.add(offer("6", "a", "x", 85), 2, SECOND),
        None,
        "the offer belongs to another subscription"
    );
    let offers = offer_pool.take_unmatched();
    let merged: Vec<_> = offers
        .iter()
        .map(|offer| (offer.ids.join("+"), &*offer.agent.id, offer.free.milli_cpus, offer.ports.as_slice()))
        .collect();
    let ports = [(80, 80), (82, 82), (84, 84)];
    assert_eq!(
        merged,
        [
            ("1+4+5".to_owned(), "a", 3000, &ports[..]),
            ("2".to_owned(), "b", 1000, &[(80, 80)]),
            ("3".to_owned(), "a", 1000, &[(81, 81)]),
        ]
    );
    assert!(offers[0].maintenance.is_some() && offers[1].maintenance.is_none());
    assert_eq!(offer_pool.take_unmatched(), [], "the offers are in a round of matching");
    assert_eq!(offer_pool.recent(SECOND).count(), 5);
    assert_eq!(offer_pool.recent(SECOND + WINDOW + SECOND).count(), 0);
}

/// The offers that a call declines, and the filter in seconds.
fn declined(call: Option<ClusterCall>) -> Option<(Vec<String>, u64)> {
    match call? {
        ClusterCall::Decline { offers, refuse, .. } => Some((offers, refuse.as_secs())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn unused_offers_are_declined_after_the_hold_time() {
    let mut offer_pool = offer_pool();
    offer_pool.add(offer("1", "a", "x", 80), 1, SECOND);
    offer_pool.add(offer("2", "b", "x", 80), 1, 2 * SECOND);
    assert_eq!(declined(offer_pool.decline_idle(SECOND, true)), None, "the hold time is not over");
    assert_eq!(declined(offer_pool.decline_idle(2 * SECOND, true)), Some((vec!["1".to_owned()], 5)));
    assert_eq!(declined(offer_pool.decline_idle(2 * SECOND, false)), Some((vec!["2".to_owned()], 3600)));
    assert_eq!(offer_pool.held(), 0);
}

#[test]
fn revive_is_sent_for_new_tasks_and_after_a_timeout() {
    let mut offer_pool = offer_pool();
    assert!(offer_pool.should_suppress() && !offer_pool.should_suppress(), "SUPPRESS is sent once");
    assert!(!offer_pool.should_revive(SECOND), "no task was queued");
    offer_pool.note_enqueued();
    assert!(offer_pool.should_revive(SECOND) && !offer_pool.should_revive(SECOND));
    assert!(offer_pool.should_suppress());
    offer_pool.note_enqueued();
    offer_pool.add(offer("1", "a", "x", 80), 1, SECOND);
    assert!(!offer_pool.should_revive(SECOND), "there is an offer");
    offer_pool.lost();
    assert!(offer_pool.should_revive(SECOND));
    assert!(!offer_pool.should_revive(50 * SECOND));
    assert!(offer_pool.should_revive(61 * SECOND), "the last REVIVE may be lost");
}
