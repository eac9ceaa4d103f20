//! Converts offered resources to integers, and back without losing a field.
//!
//! Borges counts in integers: thousandths of a CPU, MiB, whole GPUs, ranges of ports. On the wire, resources are messages
//! with a role, reservations and an allocation, which must be returned as they were offered.
//! Mesos itself rounds scalars to three decimals. Source: Mesos, "Attributes and Resources".

use super::messages::resource::AllocationInfo;
use super::messages::{Attribute, Resource, value};

/// Amounts of what a task can use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Quantities {
    /// Thousandths of a cpu.
    pub milli_cpus: u64,
    /// Memory, in MiB.
    pub mem_mib: u64,
    /// Disk, in MiB.
    pub disk_mib: u64,
    /// Whole gpus.
    pub gpus: u64,
    /// Ranges of ports, both ends included.
    pub ports: Vec<(u64, u64)>,
}

/// The scalars of [`Quantities`]: each name on the wire, and how many thousandths our unit is.
const SCALARS: [(&str, u64); 4] = [("cpus", 1), ("mem", 1000), ("disk", 1000), ("gpus", 1000)];

impl Quantities {
    /// The sum of `resources`: what a task of ours may be given of them.
    ///
    /// Fractions of a unit are cut. Volumes, disks that are not a directory, and what may be revoked or is
    /// shared are not counted: they are not for any task that asks for disk.
    pub fn of(resources: &[Resource]) -> Self {
        let mut thousandths = [0_u64; SCALARS.len()];
        let mut ports = Vec::new();
        for resource in resources.iter().filter(|resource| is_usable(resource)) {
            if resource.name == "ports" {
                ports.extend(ranges(resource));
            } else if let Some(at) = SCALARS.iter().position(|(name, _)| *name == resource.name) {
                thousandths[at] = thousandths[at].saturating_add(scalar(resource));
            }
        }
        let [milli_cpus, mem_mib, disk_mib, gpus] = std::array::from_fn(|at| thousandths[at] / SCALARS[at].1);
        Self { milli_cpus, mem_mib, disk_mib, gpus, ports: normalize_ranges(ports) }
    }

    /// These amounts as resources, given to `role` when one is named: what an agent without reservations
    /// would offer.
    pub fn to_resources(&self, role: Option<&str>) -> Vec<Resource> {
        let mut resources = Vec::with_capacity(SCALARS.len());
        for ((name, unit), amount) in SCALARS.iter().zip(self.scalars()) {
            if amount > 0 {
                let mut resource = new_resource(name, value::Type::Scalar, role);
                set_scalar(&mut resource, amount.saturating_mul(*unit));
                resources.push(resource);
            }
        }
        if !self.ports.is_empty() {
            let mut resource = new_resource("ports", value::Type::Ranges, role);
            set_ranges(&mut resource, self.ports.iter().copied());
            resources.push(resource);
        }
        resources
    }

    /// Whether all of `other` is in here.
    pub fn contains(&self, other: &Self) -> bool {
        self.scalars().iter().zip(other.scalars()).all(|(own, other)| *own >= other)
            && (other.ports.is_empty() || subtract_ranges(&other.ports, &self.ports).is_empty())
    }

    /// Adds `other`, whose ports must not be in here yet.
    pub fn add(&mut self, other: &Self) {
        self.milli_cpus = self.milli_cpus.saturating_add(other.milli_cpus);
        self.mem_mib = self.mem_mib.saturating_add(other.mem_mib);
        self.disk_mib = self.disk_mib.saturating_add(other.disk_mib);
        self.gpus = self.gpus.saturating_add(other.gpus);
        if !other.ports.is_empty() {
            self.ports.extend_from_slice(&other.ports);
            self.ports = normalize_ranges(std::mem::take(&mut self.ports));
        }
    }

    /// Takes `other` out; what is not there stays not there.
    pub fn subtract(&mut self, other: &Self) {
        self.milli_cpus = self.milli_cpus.saturating_sub(other.milli_cpus);
        self.mem_mib = self.mem_mib.saturating_sub(other.mem_mib);
        self.disk_mib = self.disk_mib.saturating_sub(other.disk_mib);
        self.gpus = self.gpus.saturating_sub(other.gpus);
        if !other.ports.is_empty() {
            self.ports = subtract_ranges(&self.ports, &other.ports);
        }
    }

    fn scalars(&self) -> [u64; SCALARS.len()] {
        [self.milli_cpus, self.mem_mib, self.disk_mib, self.gpus]
    }
}

/// The resources of offers of one agent and one role, as they were offered, less what was taken of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OfferedResources(Vec<Resource>);

impl OfferedResources {
    /// All of `resources`; those that are reserved for us are taken first.
    pub fn new(mut resources: Vec<Resource>) -> Self {
        resources.sort_by_key(|resource| !is_reserved(resource));
        Self(resources)
    }

    /// Those of several offers as one.
    pub fn merge(offers: impl IntoIterator<Item = Self>) -> Self {
        Self::new(offers.into_iter().flat_map(|offered| offered.0).collect())
    }

    /// Takes what a task wants, or nothing when it is not all there.
    ///
    /// What is returned differs from what was offered in its amounts alone. A port that is named must be
    /// there itself.
    pub fn allocate(&mut self, request: &Quantities) -> Option<Vec<Resource>> {
        let mut remaining = self.0.clone();
        let mut taken = Vec::new();
        for ((name, unit), amount) in SCALARS.iter().zip(request.scalars()) {
            let mut missing = amount.saturating_mul(*unit);
            for resource in remaining.iter_mut().filter(|r| r.name == *name && is_usable(r)) {
                let available = scalar(resource).min(missing);
                if available > 0 {
                    let mut part = resource.clone();
                    set_scalar(&mut part, available);
                    set_scalar(resource, scalar(resource) - available);
                    taken.push(part);
                    missing -= available;
                }
            }
            if missing > 0 {
                return None;
            }
        }
        let mut missing = normalize_ranges(request.ports.clone());
        for resource in remaining.iter_mut().filter(|r| r.name == "ports" && is_usable(r)) {
            let offered = normalize_ranges(ranges(resource).collect());
            let rest = subtract_ranges(&offered, &missing);
            let available = subtract_ranges(&offered, &rest);
            if !available.is_empty() {
                let mut part = resource.clone();
                set_ranges(&mut part, available.iter().copied());
                set_ranges(resource, rest.into_iter());
                taken.push(part);
                missing = subtract_ranges(&missing, &available);
            }
        }
        if !missing.is_empty() {
            return None;
        }
        self.0 = remaining;
        Some(taken)
    }

    /// What is left, in our numbers.
    pub fn quantities(&self) -> Quantities {
        Quantities::of(&self.0)
    }
}

/// Ranges of `from` that are in none of `taken`; both must be [`normalize_ranges`].
pub(crate) fn subtract_ranges(from: &[(u64, u64)], taken: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut remaining = Vec::with_capacity(from.len());
    for &(from_begin, end) in from {
        let mut begin = from_begin;
        let mut rest = true;
        for &(first, last) in taken.iter().filter(|(first, last)| *last >= from_begin && *first <= end) {
            if first > begin {
                remaining.push((begin, first - 1));
            }
            let next = last.checked_add(1).filter(|next| *next <= end);
            rest = next.is_some();
            begin = next.unwrap_or(end);
            if !rest {
                break;
            }
        }
        if rest {
            remaining.push((begin, end));
        }
    }
    remaining
}

/// The same numbers as sorted ranges that neither touch nor overlap.
pub fn normalize_ranges(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(begin, end)| begin <= end);
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1.saturating_add(1);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
    ranges
}

/// What any task may use: no volume, no disk of its own kind, not revocable, not shared.
fn is_usable(resource: &Resource) -> bool {
    resource.revocable.is_none() && resource.shared.is_none() && resource.disk.is_none()
}

fn is_reserved(resource: &Resource) -> bool {
    !resource.reservations.is_empty()
        || resource.reservation.is_some()
        || resource.role.as_deref().is_some_and(|role| role != "*")
}

/// In thousandths; what is negative, or no number, is nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates: that is meant")]
fn scalar(resource: &Resource) -> u64 {
    resource.scalar.as_ref().map_or(0, |scalar| (scalar.value * 1000.0).round() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "above 2^53 thousandths nobody counts")]
fn set_scalar(resource: &mut Resource, thousandths: u64) {
    resource.scalar = Some(value::Scalar { value: thousandths as f64 / 1000.0 });
}

fn ranges(resource: &Resource) -> impl Iterator<Item = (u64, u64)> {
    resource.ranges.iter().flat_map(|ranges| &ranges.range).map(|range| (range.begin, range.end))
}

fn set_ranges(resource: &mut Resource, ranges: impl Iterator<Item = (u64, u64)>) {
    let range = ranges.map(|(begin, end)| value::Range { begin, end }).collect();
    resource.ranges = Some(value::Ranges { range });
}

fn new_resource(name: &str, kind: value::Type, role: Option<&str>) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: kind as i32,
        allocation_info: role.map(|role| AllocationInfo { role: Some(role.to_owned()) }),
        ..Resource::default()
    }
}

/// An attribute's value as text, as Mesos prints it: `1.5`, `[1-2, 4-4]`, `{a, b}`, `text`.
pub(crate) fn attribute_text(attribute: &Attribute) -> String {
    match value::Type::try_from(attribute.r#type) {
        Ok(value::Type::Scalar) => attribute.scalar.as_ref().map(|scalar| scalar.value.to_string()),
        Ok(value::Type::Text) => attribute.text.as_ref().map(|text| text.value.clone()),
        Ok(value::Type::Set) => attribute.set.as_ref().map(|set| format!("{{{}}}", set.item.join(", "))),
        Ok(value::Type::Ranges) => attribute.ranges.as_ref().map(|ranges| {
            let ranges: Vec<_> = ranges.range.iter().map(|r| format!("{}-{}", r.begin, r.end)).collect();
            format!("[{}]", ranges.join(", "))
        }),
        Err(_) => None,
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::messages::resource::{DiskInfo, ReservationInfo, RevocableInfo};

    fn cpus(thousandths: u64) -> Resource {
        let mut resource = new_resource("cpus", value::Type::Scalar, Some("eng"));
        set_scalar(&mut resource, thousandths);
        resource
    }

    fn reserved(resource: Resource) -> Resource {
        let reservation = ReservationInfo { role: Some("eng".into()), ..ReservationInfo::default() };
        Resource { reservations: vec![reservation], ..resource }
    }

    #[test]
    fn scalars_are_rounded_to_three_decimals() {
        let tenths: Vec<_> = (0..3).map(|_| cpus(100)).collect();
        assert_eq!(Quantities::of(&tenths).milli_cpus, 300);
        let mem_of = |value| {
            let scalar = Some(value::Scalar { value });
            Quantities::of(&[Resource { scalar, ..new_resource("mem", value::Type::Scalar, None) }]).mem_mib
        };
        assert_eq!(
            [mem_of(55.999_9), mem_of(55.9), mem_of(-3.0), mem_of(f64::NAN), mem_of(f64::INFINITY)],
            [56, 55, 0, 0, u64::MAX / 1000]
        );
    }

    #[test]
    fn volumes_and_revocable_resources_are_not_counted() {
        let disk =
            Resource { disk: Some(DiskInfo::default()), ..new_resource("disk", value::Type::Scalar, None) };
        let revocable = Resource { revocable: Some(RevocableInfo {}), ..cpus(1000) };
        assert_eq!(Quantities::of(&[disk.clone(), revocable.clone()]), Quantities::default());
        let one = Quantities { milli_cpus: 1, ..Quantities::default() };
        assert_eq!(OfferedResources::new(vec![disk, revocable]).allocate(&one), None);
    }

    #[test]
    fn reserved_resources_are_allocated_first_and_keep_their_fields() {
        let mut offered = OfferedResources::new(vec![cpus(2000), reserved(cpus(500))]);
        let taken = offered.allocate(&Quantities { milli_cpus: 700, ..Quantities::default() }).unwrap();
        assert_eq!(taken, vec![reserved(cpus(500)), cpus(200)]);
        assert_eq!(offered.quantities().milli_cpus, 1800);
    }

    #[test]
    fn allocation_is_all_or_nothing() {
        let offer = Quantities { milli_cpus: 1000, ports: vec![(80, 90)], ..Quantities::default() };
        let mut offered = OfferedResources::new(offer.to_resources(None));
        for ports in [vec![(79, 80)], vec![(90, 91)], vec![(1, 1)]] {
            assert_eq!(offered.allocate(&Quantities { ports, milli_cpus: 1, ..Quantities::default() }), None);
        }
        assert_eq!(offered.quantities(), offer);
    }

    #[test]
    fn ports_are_allocated_from_ranges() {
        let all = Quantities { ports: vec![(1, 65_535)], ..Quantities::default() };
        let mut offered = OfferedResources::new(all.to_resources(Some("*")));
        let request = Quantities { ports: vec![(8080, 8080), (443, 443), (1, 2)], ..Quantities::default() };
        let taken = offered.allocate(&request).unwrap();
        assert_eq!(Quantities::of(&taken).ports, [(1, 2), (443, 443), (8080, 8080)]);
        assert_eq!(offered.quantities().ports, [(3, 442), (444, 8079), (8081, 65_535)]);
    }

    #[test]
    fn attributes_display_as_in_mesos() {
        let ranges = value::Ranges { range: vec![value::Range { begin: 1, end: 2 }] };
        let attribute =
            Attribute { r#type: value::Type::Ranges as i32, ranges: Some(ranges), ..Attribute::default() };
        assert_eq!(attribute_text(&attribute), "[1-2]");
        assert_eq!(attribute_text(&Attribute { r#type: 9, ..Attribute::default() }), "");
    }

    proptest! {
        #[test]
        fn quantities_round_trip_through_resources(
            milli_cpus in 0_u64..1_000_000, mem_mib in 0_u64..10_000_000, disk_mib in 0_u64..1_000_000_000,
            gpus in 0_u64..64, ports in prop::collection::vec((0_u64..1000, 0_u64..1000), 0..5),
        ) {
            let amounts = Quantities { milli_cpus, mem_mib, disk_mib, gpus, ports: normalize_ranges(ports) };
            prop_assert_eq!(Quantities::of(&amounts.to_resources(Some("r"))), amounts);
        }

        #[test]
        fn allocated_and_remaining_ranges_add_up(
            ports in prop::collection::vec((0_u64..60, 0_u64..60), 0..6),
            taken in prop::collection::vec((0_u64..60, 0_u64..60), 0..6),
        ) {
            let set = |ranges: &[(u64, u64)]| -> std::collections::BTreeSet<u64> {
                ranges.iter().flat_map(|(begin, end)| *begin..=*end).collect()
            };
            let (ports, taken) = (normalize_ranges(ports), normalize_ranges(taken));
            let remaining = subtract_ranges(&ports, &taken);
            prop_assert_eq!(&normalize_ranges(remaining.clone()), &remaining);
            prop_assert_eq!(set(&remaining), &set(&ports) - &set(&taken));
            let all = Quantities { ports, milli_cpus: 5, ..Quantities::default() };
            let part = Quantities { ports: subtract_ranges(&all.ports, &remaining), milli_cpus: 2, ..Quantities::default() };
            prop_assert!(all.contains(&part));
            let mut rest = all.clone();
            rest.subtract(&part);
            prop_assert!(part.ports.is_empty() || !rest.contains(&part));
            rest.add(&part);
            prop_assert_eq!(rest, all);
        }
    }
}
