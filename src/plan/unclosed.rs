//! Reports blocks that are not closed, and begin lines inside of other blocks.

use borges_org::{Document, Position, SourceMap, suggest};

use super::diagnostic::Diagnostic;
use super::lints::{keyword, trimmed};

/// A begin line without an end is text for Emacs; here somebody meant code to run.
pub(super) fn unclosed(
    source: &[u8],
    document: &Document,
    source_map: &SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut open = document.unterminated_blocks.iter().filter(|found| found.within == "paragraph").peekable();
    if open.peek().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = source.split(|&byte| byte == b'\n').collect();
    for (index, look_alike) in open.enumerate() {
        // At most twenty are shown; the others need no search of their own.
        let help = if index < 20 { find_cause(&lines, look_alike.line, source_map) } else { None };
        diagnostics.push(Diagnostic::error(
            at(&lines, look_alike.line),
            "this `#+begin_src` has no `#+end_src`",
            help.unwrap_or_else(|| "Close it with a line `#+end_src` before the next heading.".to_owned()),
        ));
    }
}

/// What stands where the end of the block that begins on line `begin` should be.
fn find_cause(lines: &[&[u8]], begin: u32, source_map: &SourceMap) -> Option<String> {
    let mut heading = None;
    for (number, line) in (begin.saturating_add(1)..).zip(lines.iter().skip(begin as usize)) {
        let text = trimmed(line);
        if is_heading(line) {
            heading = heading.or(Some(number));
        } else if let Some(word) = keyword(text) {
            let word = word.to_lowercase();
            if word == "begin_src" {
                return None;
            }
            if word.starts_with("end_") && word != "end_src" && heading.is_none() {
                let near = suggest(&word, ["end_src"])?;
                return Some(format!(
                    "Line {} says `#+{word}`: did you mean `#+{near}`?",
                    source_map.line(number)
                ));
            }
            if word == "end_src" {
                return heading.map(|heading| {
                    let line = source_map.line(heading);
                    format!(
                        "Line {line} begins with stars, which ends the block: write it with a comma, `,*`."
                    )
                });
            }
        }
    }
    None
}

/// A begin line in the body of another block: most likely that one was not closed.
pub(super) fn nested_begin_lines(
    document: &Document,
    source_map: &SourceMap,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut blocks = document.blocks.iter().peekable();
    for look_alike in document.unterminated_blocks.iter().filter(|found| found.within == "src-block") {
        while blocks.next_if(|block| block.end_line < look_alike.line).is_some() {}
        let Some(block) = blocks.peek() else { return };
        if block.language.as_deref().is_some_and(|language| language.eq_ignore_ascii_case("org")) {
            continue;
        }
        diagnostics.push(Diagnostic::warning(
            Position { line: look_alike.line, column: 1 },
            format!(
                "this `#+begin_src` is text of the block that begins at line {}",
                source_map.line(block.begin_line)
            ),
            "Close that block first with a line `#+end_src`, or write `,#+begin_src`.",
        ));
    }
}

fn is_heading(line: &[u8]) -> bool {
    let stars = line.iter().take_while(|&&byte| byte == b'*').count();
    stars > 0 && line.get(stars) == Some(&b' ')
}

/// The first thing on a line.
fn at(lines: &[&[u8]], line: u32) -> Position {
    let blanks =
        lines.get((line as usize).saturating_sub(1)).map_or(0, |text| text.len() - trimmed(text).len());
    Position { line, column: u32::try_from(blanks + 1).unwrap_or(u32::MAX) }
}
