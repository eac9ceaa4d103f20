//! Inserts results into a document. An old result is replaced, and no other byte changes.

use std::ops::Range;

use borges_org::{Document, Hash, Keep, ResultLocator, Slot, Target};

use super::align;
use super::byte_text;
use super::format_result::{InlineError, Insertion};
use super::result_note::{add_note, replace_note};

/// A result, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct ResultUpdate<'a> {
    /// The block or call, in the document that is written.
    pub target: Target,
    /// Its value, and how it is written.
    pub insertion: Insertion<'a>,
    /// Emacs' hash of it, for `:cache yes`.
    pub hash: Hash<'a>,
    /// What is noted in the result, of a block that did not end well: the value of a line `#+attr_borges:`. Within
    /// text there is no room for one.
    pub note: Option<&'a str>,
    /// The block was not run: what stands there stays, and gets the note.
    pub keeps_result: bool,
}

/// A document with results, and those that could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatedText {
    /// The document.
    pub text: Vec<u8>,
    /// Results within text that cannot stand there, and why.
    pub refused: Vec<(Target, InlineError)>,
}

/// Writes results into the document that was read from `source`. Each target may come once.
pub fn insert_results(source: &[u8], document: &Document, updates: &[ResultUpdate]) -> UpdatedText {
    let locator = ResultLocator::new(document, source);
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    let mut refused = Vec::new();
    for update in updates {
        let results = update.insertion.results();
        if ["silent", "none"].iter().any(|word| results.has(word)) {
            continue;
        }
        match update.target {
            Target::Block(_) | Target::Call(_) if update.keeps_result => {
                edits.extend(update.note.and_then(|note| edit_note(source, &locator, update.target, note)));
            }
            Target::InlineBlock(_) | Target::InlineCall(_) if update.keeps_result => {}
            Target::Block(_) | Target::Call(_) => edits.extend(edit_below(source, &locator, update)),
            Target::InlineBlock(_) | Target::InlineCall(_) => match update.insertion.inline() {
                Err(why) => refused.push((update.target, why)),
                Ok(result) => edits.extend(edit_inline(&locator, update.target, result.as_deref())),
            },
        }
    }
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut text = Vec::with_capacity(source.len());
    let mut at = 0;
    for (span, new) in edits {
        // Two results of one name: the later one stands.
        if span.start < at {
            continue;
        }
        text.extend_from_slice(&source[at..span.start]);
        text.extend_from_slice(&new);
        at = span.end;
    }
    text.extend_from_slice(&source[at..]);
    UpdatedText { text, refused }
}

/// The result of a block or call on lines of its own.
fn edit_below(
    source: &[u8],
    locator: &ResultLocator,
    update: &ResultUpdate,
) -> Option<(Range<usize>, Vec<u8>)> {
    let results = update.insertion.results();
    let keep = match () {
        () if results.has("append") => Keep::Before,
        () if results.has("prepend") => Keep::After,
        () => Keep::Nothing,
    };
    // What is appended to is no one run's result.
    let note = update.note.filter(|_| keep == Keep::Nothing);
    let hash = if keep == Keep::Nothing { update.hash } else { Hash::Keep };
    let mut slot = locator.slot(update.target, keep, hash)?;
    let mut lines = update.insertion.lines();
    if let Some(note) = note {
        lines = add_note(&lines, note);
    }
    let mut indent = slot.indent;
    if keep != Keep::Nothing && update.insertion.is_table() && !is_wrapped(update) {
        // A table that is next to it becomes one with it.
        let (old, merged) = merge_tables(source, slot.old.start, keep, &lines);
        if old.is_empty() {
            lines = merged;
        } else {
            slot.old = old;
            lines = merged;
            indent = 0;
        }
    } else if keep == Keep::Before && update.insertion.value.is_list() {
        indent = 0;
    }
    let new = std::mem::take(&mut slot.before) + &indented(&lines, indent);
    let mut bytes = byte_text::encode(&new.replace("\r\n", "\n"));
    let next = source.get(slot.old.end..).unwrap_or_default();
    let blank = !slot.after.is_empty() || next.starts_with(b"\n") || next.starts_with(b"\r\n");
    if blank && note.is_none() && update.insertion.is_example() {
        bytes.pop();
    }
    bytes.extend_from_slice(if slot.after.is_empty() { b"" } else { b"\n" });
    Some((slot.old, with_newlines(bytes, locator.newline())))
}

/// The result that stands there, with a note.
fn edit_note(
    source: &[u8],
    locator: &ResultLocator,
    target: Target,
    note: &str,
) -> Option<(Range<usize>, Vec<u8>)> {
    let Slot { old, before, after, indent } = locator.slot(target, Keep::Nothing, Hash::Keep)?;
    let existing = byte_text::decode(&source[old.clone()]).replace("\r\n", "\n");
    let open = !existing.is_empty() && !existing.ends_with('\n');
    let lines = if open { existing + "\n" } else { existing };
    let lines = replace_note(&lines, note, &indented(".", indent).replace('.', ""));
    let new = before + &lines + if after.is_empty() { "" } else { "\n" };
    Some((old, with_newlines(byte_text::encode(&new.replace("\r\n", "\n")), locator.newline())))
}

/// A result within text.
fn edit_inline(
    locator: &ResultLocator,
    target: Target,
    result: Option<&str>,
) -> Option<(Range<usize>, Vec<u8>)> {
    let slot = locator.inline(target)?;
    let blank = if slot.new { " " } else { "" };
    let bytes = byte_text::encode(&format!("{blank}{}", result.unwrap_or_default()));
    Some((slot.old, with_newlines(bytes, locator.newline())))
}

/// Whether something stands round the lines.
fn is_wrapped(update: &ResultUpdate) -> bool {
    let results = update.insertion.results();
    update.insertion.arguments.has(":wrap")
        || ["html", "latex", "org", "code", "drawer"].iter().any(|word| results.has(word))
}

/// The lines of a table together with those next to byte `at`: which bytes these are, and what they become.
fn merge_tables(source: &[u8], at: usize, keep: Keep, lines: &str) -> (Range<usize>, String) {
    let mut old = at..at;
    loop {
        let next = match keep {
            Keep::Before => line_before(source, old.start),
            _ => line_after(source, old.end),
        };
        let Some(line) = next.filter(|line| align::is_table(&byte_text::decode(&source[line.clone()])))
        else {
            break;
        };
        old = line.start.min(old.start)..line.end.max(old.end);
    }
    let existing = byte_text::decode(&source[old.clone()]).replace("\r\n", "\n");
    let all = if keep == Keep::Before { existing + lines } else { lines.to_owned() + &existing };
    (old, align::align(&all))
}

fn line_before(source: &[u8], at: usize) -> Option<Range<usize>> {
    let end = at.checked_sub(1)?;
    let start = memchr::memrchr(b'\n', &source[..end]).map_or(0, |n| n + 1);
    Some(start..at)
}

fn line_after(source: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = source.get(at..).filter(|rest| !rest.is_empty())?;
    Some(at..memchr::memchr(b'\n', rest).map_or(source.len(), |n| at + n + 1))
}

/// Moves lines to the right, but for blank ones.
fn indented(lines: &str, columns: usize) -> String {
    if columns == 0 {
        return lines.to_owned();
    }
    let line = |line: &str| {
        let inner = line.trim_start_matches([' ', '\t']);
        if inner.trim_end_matches(['\n', '\r']).is_empty() {
            return line[line.len() - (inner.len())..].to_owned();
        }
        let own = line[..line.len() - inner.len()].chars().fold(0, |column, c| match c {
            '\t' => column + 8 - column % 8,
            _ => column + 1,
        });
        let all = own + columns;
        format!("{}{}{inner}", "\t".repeat(all / 8), " ".repeat(all % 8))
    };
    lines.split_inclusive('\n').map(line).collect()
}

fn with_newlines(bytes: Vec<u8>, newline: &str) -> Vec<u8> {
    if newline == "\n" {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.extend_from_slice(line);
                out.extend_from_slice(newline.as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arguments, Value};
    use borges_org as org;

    /// The document with the same text as result of each of its blocks and calls.
    fn insert_all(source: &str, value: &Value, hash: Option<&str>, note: Option<&str>) -> String {
        let document = org::parse(source.as_bytes(), &[]);
        let mut targets: Vec<(Target, Arguments)> = Vec::new();
        for (n, block) in document.blocks.iter().enumerate() {
            targets.push((Target::Block(n), Arguments::from_params(&block.params)));
        }
        let calls = (0..document.calls.len()).map(Target::Call);
        let calls = calls.chain((0..document.inline_calls.len()).map(Target::InlineCall));
        let calls = calls.chain((0..document.inline_blocks.len()).map(Target::InlineBlock));
        targets.extend(calls.map(|target| (target, Arguments::default())));
        let updates: Vec<ResultUpdate> = targets
            .iter()
            .map(|(target, arguments)| {
                let insertion = Insertion { value, arguments, language: "sh", posted: false };
                ResultUpdate {
                    target: *target,
                    insertion,
                    hash: hash.map_or(Hash::Keep, Hash::Set),
                    note,
                    keeps_result: false,
                }
            })
            .collect();
        String::from_utf8(insert_results(source.as_bytes(), &document, &updates).text).unwrap()
    }

    fn block(line: &str) -> String {
        format!("#+begin_src sh {line}\n#+end_src\n")
    }

    /// What Org 9.8.9 makes of these documents, but for a last newline that it adds.
    #[test]
    fn results_replace_old_ones_or_are_inserted() {
        let short: Value = "new\n".into();
        let b = block("");
        let documents = [
            b.clone(),
            format!("{b}Text"),
            format!("{b}\n\nText"),
            b.trim_end().to_owned(),
            format!("{b}\n#+RESULTS:\n: old\n: old\n\nText"),
            format!("{b}\n#+results:\n- a\n  - b\n- c\n\nText"),
            format!("{b}\n\n#+RESULTS:\n#+caption: c\n| a |\n#+tblfm: x\nText"),
            format!("{b}\n#+RESULTS:\nparagraph\n\nText"),
            format!("{b}\n#+RESULTS:\n[[file:a.txt]]\n* Head"),
            format!("{b}\n#+RESULTS: other\n: old\n"),
            format!("#+RESULTS: n\n: old\n\n#+name: n\n{b}\n#+RESULTS:\n: old\n"),
            format!("{b}\n#+RESULTS[abc]:\n: old\n"),
            format!("{b}\n#+RESULTS:"),
            format!("{b}\n#+attr_html: :x y\n#+RESULTS:\n:drawer:\nx\n:end:\n"),
            "- item\n  #+begin_src sh\n  #+end_src\n- next\n".to_owned(),
            "- #+begin_src sh\n  #+end_src\n- next\n".to_owned(),
            "          #+begin_src sh\n          #+end_src\n".to_owned(),
            format!("#+begin_quote\n{b}#+end_quote\n"),
            format!(":d:\n{b}:end:\n"),
            "#+call: x()\n\n#+RESULTS:\n: old\n".to_owned(),
            "#+name: c\n#+call: x()\n".to_owned(),
            "a src_sh{x} b call_x() {{{results(=old=)}}} c\n* head src_sh{x}\n".to_owned(),
            block(":results append") + "\n#+RESULTS:\n: old\n\nText",
            block(":results prepend") + "\n#+RESULTS:\n: old\n\nText",
            block(":results silent") + "\n#+RESULTS:\n: old\n",
            b.replace('\n', "\r\n") + "\r\n#+RESULTS:\r\n: old\r\n\r\nText\r\n",
        ];
        let outputs = documents.map(|source| {
            let written = insert_all(&source, &short, None, None);
            format!("===\n{}\n--->\n{}\n", source.replace('\r', "␍"), written.replace('\r', "␍"))
        });
        insta::assert_snapshot!(outputs.concat());
    }

    #[test]
    fn long_results_tables_and_hashes_are_inserted() {
        let b = block("");
        let long = Value::text("x\n".repeat(10));
        let row = Value::list(vec![Value::list(vec![1.into(), "new".into()])]);
        let old = "\n#+RESULTS:\n| a | b | c |\n\nText\n";
        let outputs = [
            insert_all(&format!("{b}\nText\n"), &long, None, None),
            insert_all(&format!("{b}Text\n"), &long, None, None),
            insert_all(&format!("- i\n  {}- j\n", b.replace("\n#", "\n  #")), &long, None, None),
            insert_all(&(block(":results append") + old), &row, None, None),
            insert_all(&(block(":results prepend") + old), &row, None, None),
            insert_all(&format!("{b}\n#+RESULTS[a]:\n: old\n\nText"), &row, Some("b"), None),
            insert_all(&format!("{b}\n#+attr_x: y\n#+RESULTS[a]:\n: old\nText"), &row, Some("a"), None),
            insert_all(&format!("{b}\n#+RESULTS:\nparagraph\n\nText"), &row, Some("b"), None),
            insert_all(&format!("  {}", b.replace("\n#", "\n  #")), &Value::Nil, None, Some(":exit 127")),
            insert_all(&block(":results append :wrap"), &row, None, None),
        ];
        insta::assert_snapshot!(outputs.join("===\n"));
    }

    /// With a note, and again without: not a byte is left of it.
    #[test]
    fn notes_are_added_and_removed() {
        let (b, note) = (block(""), Some(":state failed :exit 3"));
        let item = format!("- i\n  {}- j\n", b.trim_end().replace("\n#", "\n  #") + "\n");
        let documents = [
            (b.clone(), "half\n".into()),
            (format!("{b}\n#+RESULTS[a]:\n: old\n\nText\n"), Value::Nil),
            (format!("#+name: n\n{b}Text\n"), Value::text("x\n".repeat(10))),
            (block(":results raw") + "Text\n", "* head\n".into()),
            (block(":results drawer"), "x\n".into()),
            (block(":results file"), "a.png".into()),
            (item, "half\n".into()),
            (b.replace('\n', "\r\n"), "half\n".into()),
        ];
        let mut outputs = Vec::new();
        for (source, value) in documents {
            let first = insert_all(&source, &value, None, note);
            let clean = insert_all(&source, &"well\n".into(), Some("h"), None);
            if !source.contains("raw") {
                assert_eq!(insert_all(&first, &"well\n".into(), Some("h"), None), clean);
            }
            outputs.push(first);
        }
        insta::assert_snapshot!(outputs.join("===\n").replace('\r', "␍"));
    }

    /// A block that was not run: its old result stays, under the note.
    #[test]
    fn notes_are_added_to_results_that_are_kept() {
        let b = block("");
        let (value, arguments) = (Value::Nil, Arguments::default());
        let insertion = Insertion { value: &value, arguments: &arguments, language: "sh", posted: false };
        let mut outputs = Vec::new();
        for source in [
            b.clone(),
            format!("{b}\n#+RESULTS[a]:\n: old\n\nText\n"),
            format!("{b}\n#+RESULTS:\n[[file:a.png]]\nText\n"),
            format!("  {}\n  #+RESULTS:\n  | a |", b.replace("\n#", "\n  #")),
        ] {
            let mut text = source.into_bytes();
            for note in [":state skipped :message once", ":state skipped :message twice"] {
                let document = org::parse(&text, &[]);
                let target = Target::Block(0);
                let update = ResultUpdate {
                    target,
                    insertion,
                    hash: Hash::Keep,
                    note: Some(note),
                    keeps_result: true,
                };
                text = insert_results(&text, &document, &[update]).text;
            }
            outputs.push(String::from_utf8(text).unwrap());
        }
        insta::assert_snapshot!(outputs.join("===\n"));
    }
}
