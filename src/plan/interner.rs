//! Shares equal values between the tasks of a run, because a run can have very many tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::unit::Disposition;
use borges_task::{Policy, Requirements};

/// Policies, environments and names that tasks share.
#[derive(Default)]
pub(super) struct Interner {
    policies: Vec<Arc<Policy>>,
    requirements: BTreeSet<Arc<Requirements>>,
    environments: BTreeSet<Arc<[(String, String)]>>,
    texts: BTreeSet<Arc<str>>,
}

impl Interner {
    /// Looks among the last few only: there is no order among policies.
    const RECENT_POLICIES: usize = 16;

    pub(super) fn policy(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(existing) =
            self.policies.iter().rev().take(Self::RECENT_POLICIES).find(|existing| ***existing == policy)
        {
            return existing.clone();
        }
        self.policies.push(Arc::new(policy));
        self.policies[self.policies.len() - 1].clone()
    }

    /// Nothing for who wishes nothing.
    pub(super) fn requirements(&mut self, requirements: Requirements) -> Option<Arc<Requirements>> {
        if requirements == Requirements::default() {
            return None;
        }
        let existing = self.requirements.get(&requirements).cloned();
        Some(existing.unwrap_or_else(|| {
            let new = Arc::new(requirements);
            self.requirements.insert(new.clone());
            new
        }))
    }

    pub(super) fn environment(&mut self, environment: Vec<(String, String)>) -> Arc<[(String, String)]> {
        let existing = self.environments.get(environment.as_slice()).cloned();
        existing.unwrap_or_else(|| {
            let new: Arc<[_]> = environment.into();
            self.environments.insert(new.clone());
            new
        })
    }

    pub(super) fn text(&mut self, text: Option<String>) -> Option<Arc<str>> {
        let text = text?;
        let existing = self.texts.get(text.as_str()).cloned();
        Some(existing.unwrap_or_else(|| {
            let new: Arc<str> = text.into();
            self.texts.insert(new.clone());
            new
        }))
    }
}

/// The code of all that runs, in one piece of memory.
pub(super) struct Bodies(Bytes);

impl Bodies {
    /// Of the blocks that run among these.
    pub(super) fn of<'a>(dispositions: impl Iterator<Item = &'a Disposition> + Clone) -> Self {
        let bodies = dispositions.filter_map(|disposition| match disposition {
            Disposition::Runs { body, .. } => Some(body),
            Disposition::Skipped(_) | Disposition::Excluded => None,
        });
        let mut all = Vec::with_capacity(bodies.clone().map(Vec::len).sum());
        bodies.for_each(|body| all.extend_from_slice(body));
        Self(all.into())
    }

    /// The next of them, in their order; what is none of them has memory of its own.
    pub(super) fn next(&mut self, body: Vec<u8>) -> Bytes {
        if self.0.starts_with(&body) { self.0.split_to(body.len()) } else { body.into() }
    }
}
