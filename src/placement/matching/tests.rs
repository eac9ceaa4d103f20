//! Tests of one round: small cases as tables, and invariants of random rounds.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::MaintenanceWindow;
use super::super::{PlacementFailure, RecentOffers};
use super::*;
use borges_task::{Constraint, Field, Operator, Port, Requirements, ResourceRequest, Resources, RunId};

fn run() -> RunId {
    RunId(Uuid::from_u128(1))
}

fn amounts(milli_cpus: u64, mem: u64) -> Resources {
    Resources { milli_cpus, mem, ..Resources::default() }
}

fn request(milli_cpus: u64, mem: u64) -> ResourceRequest {
    ResourceRequest { resources: amounts(milli_cpus, mem), ..ResourceRequest::default() }
}

fn offers(sizes: &[(u64, u64)]) -> Vec<Offer> {
    let named = |(at, &(cpus, mem)): (usize, &(u64, u64))| Offer {
        ids: vec![format!("o{}", at + 1)],
        agent: Arc::new(Agent { id: format!("a{}", at + 1), ..Agent::default() }),
        free: amounts(cpus, mem),
        ports: Vec::new(),
        maintenance: None,
    };
    sizes.iter().enumerate().map(named).collect()
}

fn queue(requests: &[ResourceRequest]) -> Queue {
    let mut queue = Queue::default();
    for (number, request) in (1..).zip(requests) {
        queue.push(run().task(number), request.clone(), 0);
    }
    queue
}

fn queue_of_sizes(sizes: &[(u64, u64)]) -> Queue {
    queue(&sizes.iter().map(|&(cpus, mem)| request(cpus, mem)).collect::<Vec<_>>())
}

fn match_without_peers(offers: &[Offer], queue: &Queue) -> MatchResult {
    match_offers(offers, queue, &PeerLocations::default(), Timestamp::UNIX_EPOCH)
}

/// Each request with an unplaced task, and the reason.
fn unmatched(
    offers: &[Offer],
    queue: &Queue,
    result: &MatchResult,
    peer_locations: &PeerLocations,
) -> Vec<(Arc<ResourceRequest>, PlacementFailure)> {
    let (mut left, mut peer_locations) = (queue.clone(), peer_locations.clone());
    for Placement { agent, assignments, .. } in &result.placements {
        for assignment in assignments {
            peer_locations.insert(assignment.task, queue.request(assignment.task).unwrap(), &agent.id);
            left.remove(assignment.task);
        }
    }
    for offer in offers {
        peer_locations.update_agent(&offer.agent);
    }
    let recent = RecentOffers::new(offers, &peer_locations, Timestamp::UNIX_EPOCH);
    let mut all: Vec<_> =
        left.requests().map(|(request, _)| (request.clone(), recent.reason(request))).collect();
    all.sort_unstable_by_key(|(request, _)| request.clone());
    all
}

fn write_case(
    table: &mut String,
    name: &str,
    offers: &[Offer],
    queue: &Queue,
    peer_locations: &PeerLocations,
) {
    let result = &match_offers(offers, queue, peer_locations, Timestamp::UNIX_EPOCH);
    writeln!(table, "{name}").unwrap();
    for Placement { offers, assignments, .. } in &result.placements {
        let tasks: Vec<_> = assignments.iter().map(|assignment| assignment.task.number).collect();
        write!(table, "  {} takes {tasks:?}", offers.join("+")).unwrap();
        let ports: Vec<_> = assignments.iter().flat_map(|assignment| &assignment.ports).collect();
        writeln!(table, "{}", if ports.is_empty() { String::new() } else { format!(" on {ports:?}") })
            .unwrap();
    }
    if !result.declined.is_empty() {
        writeln!(table, "  declined {:?}", result.declined).unwrap();
    }
    for (request, reason) in unmatched(offers, queue, result, peer_locations) {
        writeln!(table, "  waits: {} ({reason})", request.resources).unwrap();
    }
}

/// Requests for amounts only: (name of the case, offers, requests).
#[test]
fn placements_by_amount() {
    type Sizes = &'static [(u64, u64)];
    let cases: [(&str, Sizes, Sizes); 8] = [
        ("no offers", &[], &[(1000, 56)]),
        ("nothing waits", &[(4000, 512)], &[]),
        ("all fit into one", &[(4000, 512)], &[(1000, 56), (1000, 56)]),
        ("one is full, the next takes", &[(1000, 56), (1000, 56)], &[(1000, 56), (1000, 56), (1000, 56)]),
        ("too large blocks nobody", &[(4000, 512)], &[(1000, 4096), (1000, 56)]),
        ("oldest first", &[(2000, 512)], &[(1500, 64), (1000, 64), (500, 64)]),
        ("cpu here, mem there", &[(4000, 32), (100, 4096)], &[(1000, 1024)]),
        ("more cpu than any has", &[(1000, 64), (2000, 64), (500, 64)], &[(2500, 64)]),
    ];
    let mut table = String::new();
    for (name, sizes, requests) in cases {
        write_case(&mut table, name, &offers(sizes), &queue_of_sizes(requests), &PeerLocations::default());
    }
    insta::assert_snapshot!(table);
}

/// Three agents in racks 1, 1 and 2, each with room for two tasks and ten ports; the third goes into maintenance
/// in two hours.
fn racks() -> Vec<Offer> {
    let mut offers = offers(&[(2000, 512); 3]);
    for (offer, rack) in offers.iter_mut().zip(["1", "1", "2"]) {
        let attributes = [("rack".to_owned(), rack.to_owned())].into();
        let hostname = offer.agent.id.replace('a', "host");
        offer.agent = Arc::new(Agent { hostname, attributes, ..Agent::clone(&offer.agent) });
        offer.ports = vec![(80, 89)];
    }
    offers[2].maintenance =
        Some(MaintenanceWindow { from: Timestamp::from_second(7200).unwrap(), until: None });
    offers
}

fn with_requirements(requirements: Requirements) -> ResourceRequest {
    ResourceRequest {
        requirements: Some(Arc::new(requirements)),
        constraint_group: Some(run()),
        ..request(1000, 64)
    }
}

fn constrained(field: Field, operator: Operator) -> ResourceRequest {
    with_requirements(Requirements {
        constraints: vec![Constraint { field, operator }],
        ..Requirements::default()
    })
}

fn listening(ports: &[u16]) -> ResourceRequest {
    let ports = ports.iter().map(|&host| Port { host, container: 0 }).collect();
    with_requirements(Requirements { ports, ..Requirements::default() })
}

/// Requests with ports, constraints or a timeout: (name of the case, requests).
#[test]
fn placements_by_requirement() {
    let rack = || Field::Attribute("rack".to_owned());
    let lasting = |hours: u64| ResourceRequest {
        max_runtime: Some(Duration::from_secs(hours * 3600)),
        ..request(2000, 64)
    };
    let cases = [
        ("each on its own host", vec![constrained(Field::Hostname, Operator::Unique); 4]),
        ("each in its own rack", vec![constrained(rack(), Operator::Unique); 3]),
        ("all together", vec![constrained(rack(), Operator::Cluster(None)); 5]),
        ("in rack 2 alone", vec![constrained(rack(), Operator::Cluster(Some("2".to_owned()))); 3]),
        ("evenly over racks", vec![constrained(rack(), Operator::GroupBy(None)); 5]),
        ("one a host at most", vec![constrained(Field::Hostname, Operator::MaxPer(1)); 4]),
        ("not in rack 1", vec![constrained(rack(), Operator::Unlike("1".to_owned())); 2]),
        (
            "no such attribute",
            vec![constrained(Field::Attribute("gpu".to_owned()), Operator::Like(".*".to_owned()))],
        ),
        ("each port once an agent", vec![listening(&[80]); 4]),
        ("any port", vec![listening(&[0]), listening(&[0, 0])]),
        ("a port that is not offered", vec![listening(&[90])]),
        ("more ports than there are", vec![listening(&[0; 11])]),
        ("maintenance is near", vec![lasting(1), lasting(3), lasting(1), lasting(3), lasting(1)]),
    ];
    let mut table = String::new();
    for (name, requests) in cases {
        write_case(&mut table, name, &racks(), &queue(&requests), &PeerLocations::default());
    }
    let alone = &racks()[2..];
    write_case(&mut table, "maintenance everywhere", alone, &queue(&[lasting(3)]), &PeerLocations::default());
    insta::assert_snapshot!(table);
}

/// Tasks that are out already are peers as those of the round are.
#[test]
fn running_peers_count_in_constraints() {
    let request = constrained(Field::Hostname, Operator::Unique);
    let mut peer_locations = PeerLocations::default();
    peer_locations.insert(run().task(7), &request, "a1");
    peer_locations.insert(run().task(8), &request, "away");
    let round = |peer_locations: &PeerLocations| {
        let mut table = String::new();
        let queue = queue(&[request.clone(), request.clone()]);
        write_case(&mut table, "round", &racks(), &queue, peer_locations);
        table
    };
    insta::assert_snapshot!(round(&peer_locations), @r#"
    round
      declined ["o1", "o2", "o3"]
      waits: cpu 1, mem 64 (:constraint hostname:UNIQUE: another is on an agent that has offered nothing yet)
    "#);
    peer_locations.remove(run().task(8));
    for offer in racks() {
        peer_locations.update_agent(&offer.agent);
    }
    insta::assert_snapshot!(round(&peer_locations), @r#"
    round
      o2 takes [1]
      o3 takes [2]
      declined ["o1"]
    "#);
}

prop_compose! {
    fn size()(cpus in 0u64..8, mem in 0u64..8) -> (u64, u64) { (cpus * 500, mem * 32) }
}

prop_compose! {
    /// Requests of all kinds, from few values, so that tasks compete.
    fn any_request()(size in size(), ports in prop::collection::vec(0u16..4, 0..3), kind in 0..8) -> ResourceRequest {
        let rack = || Field::Attribute("rack".to_owned());
        let (field, operator) = match kind {
            0 => (Field::Hostname, Operator::Unique),
            1 => (rack(), Operator::Cluster(None)),
            2 => (rack(), Operator::GroupBy(Some(2))),
            3 => (rack(), Operator::MaxPer(2)),
            4 => (rack(), Operator::Is("1".to_owned())),
            _ => return request(size.0, size.1),
        };
        let ports = ports.into_iter().map(|host| Port { host, container: 0 }).collect();
        let constraints = vec![Constraint { field, operator }];
        ResourceRequest { resources: amounts(size.0, size.1), ..with_requirements(Requirements { ports, constraints }) }
    }
}

proptest! {
    #[test]
    fn placements_by_amount_keep_the_invariants(
        sizes in prop::collection::vec(size(), 0..12),
        requests in prop::collection::vec(size(), 0..40),
    ) {
        let (offers, queue) = (offers(&sizes), queue_of_sizes(&requests));
        let result = match_without_peers(&offers, &queue);
        let placed = check_invariants(&offers, &queue, &result)?;
        let reasons = unmatched(&offers, &queue, &result, &PeerLocations::default());

        // Whoever waits has a reason, and could not have been added to what is left.
        for number in 1..=u32::try_from(requests.len()).unwrap() {
            let task = run().task(number);
            let request = queue.request(task).unwrap();
            if !placed.contains(&task) {
                prop_assert!(reasons.iter().any(|(unmatched, _)| unmatched == request));
                for offer in &offers {
                    prop_assert!(
                        !remaining(offer, &queue, &result).contains(&request.resources),
                        "task {} would still fit {:?}", number, offer.ids
                    );
                }
            }
        }
    }

    #[test]
    fn placements_with_requirements_keep_the_invariants(
        sizes in prop::collection::vec((size(), 1..4), 0..12),
        requests in prop::collection::vec(any_request(), 0..40),
    ) {
        let mut offers = offers(&sizes.iter().map(|(size, _): &((u64, u64), i32)| *size).collect::<Vec<_>>());
        for (offer, (_, rack)) in offers.iter_mut().zip(&sizes) {
            let attributes = [("rack".to_owned(), rack.to_string())].into();
            offer.agent = Arc::new(Agent { hostname: offer.agent.id.clone(), attributes, ..Agent::clone(&offer.agent) });
            offer.ports = vec![(1, 3), (20_000, 20_001)];
        }
        let queue = queue(&requests);
        let result = match_without_peers(&offers, &queue);
        check_invariants(&offers, &queue, &result)?;
        for placement in &result.placements {
            let mut ports: Vec<_> = placement.assignments.iter().flat_map(|assignment| &assignment.ports).collect();
            let all = ports.len();
            ports.sort_unstable();
            ports.dedup();
            prop_assert_eq!(ports.len(), all, "each port once");
            let unique: Vec<_> = placement.assignments.iter().filter_map(|assignment| {
                let requirements = queue.request(assignment.task)?.requirements.as_ref()?;
                requirements.constraints.iter().any(|it| it.operator == Operator::Unique).then_some(requirements)
            }).collect();
            prop_assert_eq!(unique.iter().collect::<HashSet<_>>().len(), unique.len(), "unique on its host");
        }
    }
}

/// What holds of every round; gives the tasks that were placed.
fn check_invariants(
    offers: &[Offer],
    queue: &Queue,
    result: &MatchResult,
) -> Result<HashSet<TaskId>, TestCaseError> {
    let taken = result.placements.iter().flat_map(|placement| placement.offers.clone());
    let mut answered: Vec<_> = taken.chain(result.declined.clone()).collect();
    answered.sort();
    let mut given: Vec<_> = offers.iter().flat_map(|offer| offer.ids.clone()).collect();
    given.sort();
    prop_assert_eq!(answered, given, "each offer is answered once");
    let assignments = || result.placements.iter().flat_map(|placement| &placement.assignments);
    let placed: HashSet<TaskId> = assignments().map(|assignment| assignment.task).collect();
    prop_assert_eq!(placed.len(), assignments().count(), "no task twice");
    for offer in offers {
        remaining(offer, queue, result);
    }
    prop_assert_eq!(&match_without_peers(offers, queue), result, "same input, same output");
    Ok(placed)
}

/// What a round leaves of an offer, which is never less than nothing.
fn remaining(offer: &Offer, queue: &Queue, result: &MatchResult) -> Resources {
    let taken = result.placements.iter().filter(|placement| placement.offers == offer.ids);
    taken.flat_map(|placement| &placement.assignments).fold(offer.free, |free, assignment| {
        free.checked_sub(&queue.request(assignment.task).unwrap().resources).expect("never more than offered")
    })
}
