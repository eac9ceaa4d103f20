//! Where the lines of a text come from that has been put together from several files.

use std::sync::Arc;

use super::document::Position;
use super::text::to_u32;

/// The files that the lines of a text come from; by default, all are of one file, in its own order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMap {
    runs: Arc<[Run]>,
    files: Arc<[Arc<str>]>,
}

/// Lines that follow each other here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Number of the first one in the text.
    from: u32,
    spot: SourceLine,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceLine {
    /// The file by its number; `None` is the document itself.
    pub(super) file: Option<u32>,
    /// Its line there, from 1.
    pub(super) line: u32,
    /// How many columns further right it stands here than there.
    pub(super) shift: i32,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// The file as it is called in messages; `None` is the document itself.
    pub file: Option<Arc<str>>,
    /// Where in it.
    pub at: Position,
}

impl SourceMap {
    /// For the lines of a text, in order.
    pub(super) fn new(spots: &[SourceLine], files: Vec<Arc<str>>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (from, &spot) in (1..).zip(spots) {
            let goes_on = |last: &Run| {
                last.spot.line.saturating_add(from - last.from) == spot.line
                    && (last.spot.file, last.spot.shift) == (spot.file, spot.shift)
            };
            if !runs.last().is_some_and(goes_on) {
                runs.push(Run { from, spot });
            }
        }
        Self { runs: runs.into(), files: files.into() }
    }

    /// Where the position `at` of the text comes from.
    pub fn locate(&self, at: Position) -> SourceLocation {
        let after = self.runs.partition_point(|run| run.from <= at.line);
        let Some(run) = after.checked_sub(1).and_then(|run| self.runs.get(run)) else {
            return SourceLocation { file: None, at };
        };
        let SourceLine { file, line, shift } = run.spot;
        let column = match at.column {
            0 => 0,
            column => to_u32(usize::try_from(i64::from(column) - i64::from(shift)).unwrap_or(1).max(1)),
        };
        let file = file.and_then(|file| self.files.get(file as usize)).cloned();
        SourceLocation { file, at: Position { line: line.saturating_add(at.line - run.from), column } }
    }

    /// A line of the text, for a person: `7`, or `7 of part.org`.
    pub fn line(&self, line: u32) -> String {
        let SourceLocation { file, at } = self.locate(Position { line, column: 0 });
        match file {
            None => at.line.to_string(),
            Some(file) => format!("{} of `{file}`", at.line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_from_where_they_stood() {
        let spot = |file, line, shift| SourceLine { file, line, shift };
        let spots = [spot(None, 1, 0), spot(Some(0), 5, 2), spot(Some(0), 6, 2), spot(None, 3, 0)];
        let places = SourceMap::new(&spots, vec!["part.org".into()]);
        let shown = |line, column| {
            let SourceLocation { file, at } = places.locate(Position { line, column });
            format!("{} {}:{}", file.as_deref().unwrap_or("-"), at.line, at.column)
        };
        assert_eq!(shown(1, 4), "- 1:4");
        assert_eq!(shown(2, 4), "part.org 5:2");
        assert_eq!(shown(3, 1), "part.org 6:1");
        assert_eq!(shown(3, 0), "part.org 6:0");
        assert_eq!(shown(4, 9), "- 3:9");
        assert_eq!(places.line(3), "6 of `part.org`");
        assert_eq!(SourceMap::default().line(3), "3");
        assert_eq!(places.runs.len(), 3);
    }
}
