//! Maps the lines of a text that was assembled from several files to the lines of these files.

use std::sync::Arc;

use super::document::Position;
use super::text::to_u32;

/// The files that the lines of a text come from; by default, all are of one file, in its own order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMap {
    segments: Arc<[Segment]>,
    files: Arc<[Arc<str>]>,
}

/// Lines that follow each other here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Number of the first one in the text.
    first_line: u32,
    source_line: SourceLine,
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
    pub(super) fn new(source_lines: &[SourceLine], files: Vec<Arc<str>>) -> Self {
        let mut segments: Vec<Segment> = Vec::new();
        for (first_line, &source_line) in (1..).zip(source_lines) {
            let continues = |last: &Segment| {
                last.source_line.line.saturating_add(first_line - last.first_line) == source_line.line
                    && (last.source_line.file, last.source_line.shift)
                        == (source_line.file, source_line.shift)
            };
            if !segments.last().is_some_and(continues) {
                segments.push(Segment { first_line, source_line });
            }
        }
        Self { segments: segments.into(), files: files.into() }
    }

    /// Where the position `at` of the text comes from.
    pub fn locate(&self, at: Position) -> SourceLocation {
        let after = self.segments.partition_point(|segment| segment.first_line <= at.line);
        let Some(segment) = after.checked_sub(1).and_then(|segment| self.segments.get(segment)) else {
            return SourceLocation { file: None, at };
        };
        let SourceLine { file, line, shift } = segment.source_line;
        let column = match at.column {
            0 => 0,
            column => to_u32(usize::try_from(i64::from(column) - i64::from(shift)).unwrap_or(1).max(1)),
        };
        let file = file.and_then(|file| self.files.get(file as usize)).cloned();
        SourceLocation {
            file,
            at: Position { line: line.saturating_add(at.line - segment.first_line), column },
        }
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
    fn lines_are_mapped_to_their_source() {
        let source_line = |file, line, shift| SourceLine { file, line, shift };
        let source_lines = [
            source_line(None, 1, 0),
            source_line(Some(0), 5, 2),
            source_line(Some(0), 6, 2),
            source_line(None, 3, 0),
        ];
        let source_map = SourceMap::new(&source_lines, vec!["part.org".into()]);
        let located = |line, column| {
            let SourceLocation { file, at } = source_map.locate(Position { line, column });
            format!("{} {}:{}", file.as_deref().unwrap_or("-"), at.line, at.column)
        };
        assert_eq!(located(1, 4), "- 1:4");
        assert_eq!(located(2, 4), "part.org 5:2");
        assert_eq!(located(3, 1), "part.org 6:1");
        assert_eq!(located(3, 0), "part.org 6:0");
        assert_eq!(located(4, 9), "- 3:9");
        assert_eq!(source_map.line(3), "6 of `part.org`");
        assert_eq!(SourceMap::default().line(3), "3");
        assert_eq!(source_map.segments.len(), 3);
    }
}
