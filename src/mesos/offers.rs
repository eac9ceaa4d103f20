//! Reads the agent, the role and the maintenance window from an offer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::messages::{Offer, Unavailability};
use super::resources::attribute_text;
use borges_placement::{Agent, MaintenanceWindow};

/// The agent an offer is of.
pub fn agent(offer: &Offer) -> Agent {
    let mut attributes = BTreeMap::new();
    for attribute in &offer.attributes {
        attributes.entry(attribute.name.clone()).or_insert_with(|| attribute_text(attribute));
    }
    let domain = offer.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
    Agent {
        id: offer.agent_id.value.clone(),
        hostname: offer.hostname.clone(),
        region: domain.map(|domain| domain.region.name.clone()),
        zone: domain.map(|domain| domain.zone.name.clone()),
        attributes,
    }
}

/// The role an offer is made to; offers to different ones cannot be accepted together.
pub fn role(offer: &Offer) -> &str {
    offer.allocation_info.as_ref().map_or("", |info| info.role())
}

/// When an agent will be away.
pub fn maintenance_window(unavailability: &Unavailability) -> MaintenanceWindow {
    let from = Timestamp::from_nanosecond(unavailability.start.nanoseconds.into()).unwrap_or(Timestamp::MAX);
    let duration =
        unavailability.duration.as_ref().map(|duration| SignedDuration::from_nanos(duration.nanoseconds));
    MaintenanceWindow {
        from,
        until: duration.map(|duration| from.saturating_add(duration).unwrap_or(Timestamp::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::domain_info::FaultDomain;
    use crate::messages::domain_info::fault_domain::{RegionInfo, ZoneInfo};
    use crate::messages::{AgentId, Attribute, DomainInfo, DurationInfo, TimeInfo, value};
    use borges_task::Field;

    #[test]
    fn agent_is_read_from_an_offer() {
        let text = |name: &str, value: &str| Attribute {
            name: name.to_owned(),
            r#type: value::Type::Text as i32,
            text: Some(value::Text { value: value.to_owned() }),
            ..Attribute::default()
        };
        let domain = FaultDomain {
            region: RegionInfo { name: "north".to_owned() },
            zone: ZoneInfo { name: "n1".to_owned() },
        };
        let agent = agent(&Offer {
            agent_id: AgentId { value: "a".to_owned() },
            hostname: "h".to_owned(),
            attributes: vec![text("rack", "1"), text("rack", "2")],
            domain: Some(DomainInfo { fault_domain: Some(domain) }),
            ..Offer::default()
        });
        let fields = [
            Field::Hostname,
            Field::Agent,
            Field::Region,
            Field::Zone,
            Field::Attribute("rack".to_owned()),
            Field::Attribute("gpu".to_owned()),
        ];
        let values: Vec<_> = fields.iter().map(|field| agent.value(field).unwrap_or("-")).collect();
        assert_eq!(values, ["h", "a", "north", "n1", "1", "-"]);
    }

    #[test]
    fn maintenance_window_end_is_optional() {
        let start = TimeInfo { nanoseconds: 5_000_000_000 };
        let window = |duration| maintenance_window(&Unavailability { start, duration });
        let second = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(window(None), MaintenanceWindow { from: second(5), until: None });
        let duration = DurationInfo { nanoseconds: 2_000_000_000 };
        assert_eq!(window(Some(duration)).until, Some(second(7)));
        let unbounded = DurationInfo { nanoseconds: i64::MAX };
        assert_eq!(window(Some(unbounded)).from, second(5));
    }
}
