//! Which process is which launch, kept in a file for those who come after the agent.
//!
//! A file a process would cost a making and an unlinking each; here a launch writes its row into a slot, and
//! its end empties the slot. The page cache outlives the agent, and more is not needed: no process outlives
//! the machine. A row is text: numbers, framework and launch, limits, ports, with tabs between.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::limits::Limits;
use super::os;
use borges_mesos::resources::Quantities;

/// A row fits; ids have at most 255 bytes each.
const SLOT: usize = 1024;

/// The first slot: the machine's boot, and the session that all the processes are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) boot_id: String,
    pub(crate) session: i32,
}

/// A launch and its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// [`STARTING`] before there is one.
    pub(crate) pid: i32,
    pub(crate) framework: String,
    pub(crate) launch: String,
    pub(crate) held: Quantities,
    pub(crate) limits: Limits,
}

/// Stands for the process that is about to be started; there is one at a time.
pub(crate) const STARTING: i32 = 0;

/// A table that is being written.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    path: PathBuf,
    file: File,
    empty: Vec<u32>,
    slots: u32,
    row: String,
}

impl ProcessTable {
    /// Makes an empty table, in place of any that lies there.
    pub(crate) fn create(path: &Path, head: &Header) -> io::Result<Self> {
        let file = os::open_file(File::options().write(true).create(true).truncate(true), 0o600, path)?;
        os::write_at(&file, path, format!("{}\t{}\n", head.boot_id, head.session).as_bytes(), 0)?;
        Ok(Self { path: path.to_owned(), file, empty: Vec::new(), slots: 1, row: String::new() })
    }

    /// Writes a row; the slot it is in.
    pub(crate) fn put(&mut self, row: &Row) -> io::Result<u32> {
        let slot = self.empty.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        self.write(slot, row)?;
        Ok(slot)
    }

    /// Writes a row in place of the one in a slot.
    pub(crate) fn write(&mut self, slot: u32, row: &Row) -> io::Result<()> {
        use std::fmt::Write;
        let Row { pid, framework, launch, held, limits } = row;
        let row = &mut self.row;
        row.clear();
        let Quantities { milli_cpus, mem_mib, disk_mib, gpus, ports } = held;
        let _ = write!(
            row,
            "{pid}\t{milli_cpus}\t{mem_mib}\t{disk_mib}\t{gpus}\t{framework}\t{launch}\t{limits}\t"
        );
        for (begin, end) in ports {
            let whole = row.len();
            let _ = write!(row, "{begin}-{end} ");
            if row.len() >= SLOT {
                row.truncate(whole);
                break;
            }
        }
        row.push('\n');
        os::write_at(&self.file, &self.path, row.as_bytes(), u64::from(slot) * SLOT as u64)
    }

    /// Empties a slot.
    pub(crate) fn clear(&mut self, slot: u32) -> io::Result<()> {
        self.empty.push(slot);
        os::write_at(&self.file, &self.path, b"\n", u64::from(slot) * SLOT as u64)
    }
}

/// Reads a table; what is no row is left out.
pub(crate) fn read(path: &Path) -> io::Result<Option<(Header, HashMap<i32, Row>)>> {
    let bytes = fs::read(path)?;
    let mut slots = bytes.chunks(SLOT).map(|slot| {
        let line = slot.split(|byte| *byte == b'\n').next().unwrap_or_default();
        std::str::from_utf8(line).unwrap_or_default()
    });
    let head = slots.next().and_then(|line| line.split_once('\t')).and_then(|(boot, session)| {
        Some(Header { boot_id: boot.to_owned(), session: session.parse().ok()? })
    });
    Ok(head.map(|head| (head, slots.filter_map(row).map(|row| (row.pid, row)).collect())))
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split('\t');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let pid = i32::try_from(number()?).ok()?;
    let (milli_cpus, mem_mib, disk_mib, gpus) = (number()?, number()?, number()?, number()?);
    let (framework, launch) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let limits = Limits::read(fields.next()?);
    let ports = fields.next()?.split_ascii_whitespace().filter_map(|range| {
        let (begin, end) = range.split_once('-')?;
        Some((begin.parse().ok()?, end.parse().ok()?))
    });
    let held = Quantities { milli_cpus, mem_mib, disk_mib, gpus, ports: ports.collect() };
    Some(Row { pid, framework, launch, held, limits })
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_cleared_ones_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("7");
        let start = Header { boot_id: "b".into(), session: 7 };
        let mut table = ProcessTable::create(&path, &start).unwrap();
        let held = Quantities {
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
            held: held.clone(),
            limits: Limits { memory: Some(56), ..Limits::default() },
        };
        let first = table.put(&row(10, "f", "r.1.1")).unwrap();
        let many = Quantities { ports: vec![(60_000, 60_001); 200], ..held.clone() };
        let second = table.put(&Row { held: many, ..row(11, &long, &long) }).unwrap();
        table.clear(first).unwrap();
        assert_eq!(table.put(&row(12, "f", "r.2.1")).unwrap(), first, "a slot is used again");
        let third = table.put(&row(STARTING, "f", "r.3.1")).unwrap();
        table.write(third, &row(13, "f", "r.3.1")).unwrap();
        let (read_head, rows) = read(&path).unwrap().unwrap();
        assert_eq!(read_head, start);
        let mut pids: Vec<_> = rows.keys().copied().collect();
        pids.sort_unstable();
        assert_eq!(pids, [11, 12, 13]);
        assert_eq!(rows[&12], row(12, "f", "r.2.1"));
        assert_eq!((rows[&11].framework.as_str(), rows[&11].launch.as_str()), (long.as_str(), long.as_str()));
        table.clear(second).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().1.len(), 2);
    }

    #[test]
    fn what_is_no_table_is_read_as_none() {
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
