//! Checks that blocks that run contain only text.

use borges_org::{Block, Position};

use super::diagnostic::Diagnostic;

/// What is no text may stand anywhere but in a block that runs, or its header.
pub(super) fn check_encoding<'b>(
    source: &[u8],
    running: impl Iterator<Item = &'b Block>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if std::str::from_utf8(source).is_ok() && memchr::memchr(0, source).is_none() {
        return;
    }
    let mut lines = (1..).zip(source.split(|&byte| byte == b'\n')).peekable();
    for block in running {
        while lines.next_if(|&(line, _)| line < block.first_line).is_some() {}
        let mut found = false;
        while let Some((line, text)) = lines.next_if(|&(line, _)| line <= block.end_line) {
            if found {
                continue;
            }
            if let Some((column, what)) = first_invalid_byte(text) {
                found = true;
                diagnostics.push(Diagnostic::error(
                    Position { line, column },
                    format!("{what} in a block that would run"),
                    "Take it out, or keep the block from running with `:eval no`.",
                ));
            }
        }
    }
}

/// The first thing in a line that is no text, and its column.
fn first_invalid_byte(line: &[u8]) -> Option<(u32, &'static str)> {
    let nul = memchr::memchr(0, line);
    let invalid = std::str::from_utf8(line).err().map(|error| error.valid_up_to());
    let (at, what) = match (nul, invalid) {
        (Some(nul), Some(invalid)) if invalid < nul => (invalid, "a byte that is no UTF-8"),
        (Some(nul), _) => (nul, "a NUL byte"),
        (None, Some(invalid)) => (invalid, "a byte that is no UTF-8"),
        (None, None) => return None,
    };
    let column = String::from_utf8_lossy(&line[..at]).chars().count() + 1;
    Some((u32::try_from(column).unwrap_or(u32::MAX), what))
}
