//! Amounts of CPUs, memory, disk and GPUs, with the arithmetic that placement needs.
//!
//! All amounts are integers, because sums of floats drift.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Amounts of what an agent offers and a task takes; integers, because cluster arithmetic in floats drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a cpu; a cpu is a share, not a core.
    pub milli_cpus: u64,
    /// Memory, MiB.
    pub mem: u64,
    /// Disk, MiB.
    pub disk: u64,
    /// Whole GPUs.
    pub gpus: u64,
}

impl Resources {
    /// Whether `self` leaves room for `wanted` in every kind.
    pub fn contains(&self, wanted: &Self) -> bool {
        self.milli_cpus >= wanted.milli_cpus
            && self.mem >= wanted.mem
            && self.disk >= wanted.disk
            && self.gpus >= wanted.gpus
    }

    /// What is left after `taken`; `None` when there is less than that.
    pub fn checked_sub(&self, taken: &Self) -> Option<Self> {
        Some(Self {
            milli_cpus: self.milli_cpus.checked_sub(taken.milli_cpus)?,
            mem: self.mem.checked_sub(taken.mem)?,
            disk: self.disk.checked_sub(taken.disk)?,
            gpus: self.gpus.checked_sub(taken.gpus)?,
        })
    }

    /// The smaller of the two in each kind.
    #[must_use]
    pub fn elementwise_min(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.min(other.milli_cpus),
            mem: self.mem.min(other.mem),
            disk: self.disk.min(other.disk),
            gpus: self.gpus.min(other.gpus),
        }
    }

    /// Both together.
    #[must_use]
    pub fn saturating_add(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.saturating_add(other.milli_cpus),
            mem: self.mem.saturating_add(other.mem),
            disk: self.disk.saturating_add(other.disk),
            gpus: self.gpus.saturating_add(other.gpus),
        }
    }

    /// The larger of the two in each kind.
    #[must_use]
    pub fn elementwise_max(&self, other: &Self) -> Self {
        Self {
            milli_cpus: self.milli_cpus.max(other.milli_cpus),
            mem: self.mem.max(other.mem),
            disk: self.disk.max(other.disk),
            gpus: self.gpus.max(other.gpus),
        }
    }
}

/// As `cpu 0.5, mem 64`; kinds of which nothing is asked are left out.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu {}, mem {}", Cpus(self.milli_cpus), self.mem)?;
        for (name, amount) in [("disk", self.disk), ("gpus", self.gpus)] {
            if amount > 0 {
                write!(f, ", {name} {amount}")?;
            }
        }
        Ok(())
    }
}

/// Milli-cpus written as cpus, without needless zeros.
struct Cpus(u64);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_display_in_document_notation() {
        let text = |milli_cpus, mem, disk| Resources { milli_cpus, mem, disk, gpus: 0 }.to_string();
        assert_eq!(text(1000, 56, 0), "cpu 1, mem 56");
        assert_eq!(text(500, 2048, 10), "cpu 0.5, mem 2048, disk 10");
        assert_eq!(text(10_010, 0, 0), "cpu 10.01, mem 0");
    }

    #[test]
    fn subtraction_fails_when_any_kind_is_short() {
        let little = Resources { milli_cpus: 500, mem: 64, ..Resources::default() };
        let much = Resources { milli_cpus: 250, mem: 65, ..Resources::default() };
        assert!(!little.contains(&much));
        assert_eq!(little.checked_sub(&much), None);
        assert_eq!(little.checked_sub(&little), Some(Resources::default()));
    }
}
