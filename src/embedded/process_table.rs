//! [`ProcessTable`], a file that maps process ids to launches, for the reaper and for later agents.
//!
//! The file has slots of a fixed size: a launch writes its row into a free slot, and its end empties the slot. This is
//! cheaper than a file for each process. The file is not synced, because no process outlives the machine. A row is
//! text, separated by tabs: process id, resources, framework, launch, limits, ports.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::launch_spec::Limits;
use super::os;
use borges_mesos::resources::Quantities;

/// The size of a slot: a row fits, because ids have at most 255 bytes each.
const SLOT_BYTES: usize = 1024;

/// The first slot: the boot of the machine, and the session of all processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) boot_id: String,
    pub(crate) session: i32,
}

/// A launch and its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The process id, or [`STARTING`].
    pub(crate) pid: i32,
    pub(crate) framework: String,
    pub(crate) launch: String,
    pub(crate) resources: Quantities,
    pub(crate) limits: Limits,
}

/// The process id of a launch that is about to be started; there is one at a time.
pub(crate) const STARTING: i32 = 0;

/// The table of this agent, open for writing.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    path: PathBuf,
    file: File,
    free_slots: Vec<u32>,
    /// Number of slots, with the header's.
    slots: u32,
    /// Buffer of the row that is written.
    row: String,
}

impl ProcessTable {
    /// Creates an empty table, in place of an existing one.
    pub(crate) fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let file = os::open_file(File::options().write(true).create(true).truncate(true), 0o600, path)?;
        os::write_at(&file, path, format!("{}\t{}\n", header.boot_id, header.session).as_bytes(), 0)?;
        Ok(Self { path: path.to_owned(), file, free_slots: Vec::new(), slots: 1, row: String::new() })
    }

    /// Writes a row into a free slot. Returns the slot.
    pub(crate) fn put(&mut self, row: &Row) -> io::Result<u32> {
        let slot = self.free_slots.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        self.write(slot, row)?;
        Ok(slot)
    }

    /// Writes a row into this slot.
    pub(crate) fn write(&mut self, slot: u32, row: &Row) -> io::Result<()> {
        use std::fmt::Write;
        let Row { pid, framework, launch, resources, limits } = row;
        let row = &mut self.row;
        row.clear();
        let Quantities { milli_cpus, mem_mib, disk_mib, gpus, ports } = resources;
        let _ = write!(
            row,
            "{pid}\t{milli_cpus}\t{mem_mib}\t{disk_mib}\t{gpus}\t{framework}\t{launch}\t{limits}\t"
        );
        for (begin, end) in ports {
            let complete = row.len();
            let _ = write!(row, "{begin}-{end} ");
            if row.len() >= SLOT_BYTES {
                row.truncate(complete);
                break;
            }
        }
        row.push('\n');
        os::write_at(&self.file, &self.path, row.as_bytes(), u64::from(slot) * SLOT_BYTES as u64)
    }

    /// Empties a slot.
    pub(crate) fn clear(&mut self, slot: u32) -> io::Result<()> {
        self.free_slots.push(slot);
        os::write_at(&self.file, &self.path, b"\n", u64::from(slot) * SLOT_BYTES as u64)
    }
}

/// Reads a table: its header, and its rows by process id. `Ok(None)` if the header is invalid; invalid rows are
/// skipped.
pub(crate) fn read(path: &Path) -> io::Result<Option<(Header, HashMap<i32, Row>)>> {
    let bytes = fs::read(path)?;
    let mut slots = bytes.chunks(SLOT_BYTES).map(|slot| {
        let line = slot.split(|byte| *byte == b'\n').next().unwrap_or_default();
        std::str::from_utf8(line).unwrap_or_default()
    });
    let header = slots.next().and_then(|line| line.split_once('\t')).and_then(|(boot, session)| {
        Some(Header { boot_id: boot.to_owned(), session: session.parse().ok()? })
    });
    Ok(header.map(|header| (header, slots.filter_map(parse_row).map(|row| (row.pid, row)).collect())))
}

fn parse_row(line: &str) -> Option<Row> {
    let mut fields = line.split('\t');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let pid = i32::try_from(number()?).ok()?;
    let (milli_cpus, mem_mib, disk_mib, gpus) = (number()?, number()?, number()?, number()?);
    let (framework, launch) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let limits = Limits::parse(fields.next()?);
    let ports = fields.next()?.split_ascii_whitespace().filter_map(|range| {
        let (begin, end) = range.split_once('-')?;
        Some((begin.parse().ok()?, end.parse().ok()?))
    });
    let resources = Quantities { milli_cpus, mem_mib, disk_mib, gpus, ports: ports.collect() };
    Some(Row { pid, framework, launch, resources, limits })
}

/// The id of this boot of the machine.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_unless_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("7");
        let header = Header { boot_id: "b".into(), session: 7 };
        let mut table = ProcessTable::create(&path, &header).unwrap();
        let resources = Quantities {
            milli_cpus: 500,
            mem_mib: 56,
            ports: vec![(80, 80), (8000, 8010)],
            ..Quantities::default()
        };
        let long = "l".repeat(255);
        let row = |pid, framework: &str, launch: &str| Row {
            pid,
            framework: framework.to_owned(),
            launch: launch.to_owned(),
            resources: resources.clone(),
            limits: Limits { memory: Some(56), ..Limits::default() },
        };
        let first = table.put(&row(10, "f", "r.1.1")).unwrap();
        let many_ports = Quantities { ports: vec![(60_000, 60_001); 200], ..resources.clone() };
        let second = table.put(&Row { resources: many_ports, ..row(11, &long, &long) }).unwrap();
        table.clear(first).unwrap();
        assert_eq!(table.put(&row(12, "f", "r.2.1")).unwrap(), first, "a slot is used again");
        let third = table.put(&row(STARTING, "f", "r.3.1")).unwrap();
        table.write(third, &row(13, "f", "r.3.1")).unwrap();
        let (read_header, rows) = read(&path).unwrap().unwrap();
        assert_eq!(read_header, header);
        let mut pids: Vec<_> = rows.keys().copied().collect();
        pids.sort_unstable();
        assert_eq!(pids, [11, 12, 13]);
        assert_eq!(rows[&12], row(12, "f", "r.2.1"));
        assert_eq!((rows[&11].framework.as_str(), rows[&11].launch.as_str()), (long.as_str(), long.as_str()));
        table.clear(second).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().1.len(), 2);
    }

    #[test]
    fn invalid_tables_are_read_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("7");
        for bytes in [&b""[..], b"\n", b"nonsense", b"boot\tx\n", &[0xff; 3000]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), None);
        }
        fs::write(&path, [&b"boot\t1\n"[..], &[b'x'; 3000]].concat()).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().1.len(), 0);
    }
}
