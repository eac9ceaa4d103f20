//! What is known of the agents that offers come from.

use std::collections::BTreeMap;

use borges_task::Field;

/// An agent, as its offers describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// The name of its machine.
    pub hostname: String,
    /// Where it stands, at large.
    pub region: Option<String>,
    /// Where it stands, more closely.
    pub zone: Option<String>,
    /// Its attributes, as text; of several with one name the first.
    pub attributes: BTreeMap<String, String>,
}

impl Agent {
    /// What it has for a field; `None` when it has no such attribute, or is in no domain.
    pub fn value(&self, field: &Field) -> Option<&str> {
        match field {
            Field::Hostname => Some(&self.hostname),
            Field::Agent => Some(&self.id),
            Field::Region => self.region.as_deref(),
            Field::Zone => self.zone.as_deref(),
            Field::Attribute(name) => self.attributes.get(name).map(String::as_str),
        }
    }
}
