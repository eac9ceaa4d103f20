//! Lints for lines that Org reads as text although a block or a keyword was probably meant.

use borges_org::{Block, Document, Position, suggest};

use super::diagnostic::Diagnostic;

/// Keywords that mean something here, and nothing without their colon.
const KEYWORDS: [&str; 8] =
    ["name", "header", "headers", "property", "runmode", "borges_lang", "call", "setupfile"];

/// A block that names no language is skipped, and seldom meant to be.
pub(super) fn no_language(block: &Block) -> Diagnostic {
    let at = Position { line: block.begin_line, column: 1 };
    match &block.parameters {
        // Only after a tab can anything else be left on the line.
        Some(rest) => Diagnostic::warning(
            at,
            "a tab stands between `#+begin_src` and the language, so the block has none",
            format!("Write a space: `#+begin_src {rest}`."),
        ),
        None => Diagnostic::warning(
            at,
            "this block names no language, and does not run",
            "Write one after `#+begin_src`: `#+begin_src sh`.",
        ),
    }
}

/// Warns of what looks like a slip outside the blocks.
pub(super) fn lint(source: &[u8], document: &Document, diagnostics: &mut Vec<Diagnostic>) {
    orphan_keywords(document, diagnostics);
    let mut blocks = document.blocks.iter().peekable();
    for (number, line) in (1..).zip(source.split(|&byte| byte == b'\n')) {
        while blocks.next_if(|block| block.end_line < number).is_some() {}
        if blocks.peek().is_some_and(|block| block.begin_line <= number) {
            continue;
        }
        let Some(hash) = memchr::memmem::find(line, b"#+") else { continue };
        let column =
            u32::try_from(String::from_utf8_lossy(&line[..hash]).chars().count() + 1).unwrap_or(u32::MAX);
        let at = Position { line: number, column };
        let Some(word) = keyword(&line[hash..]) else { continue };
        if trimmed(line).len() == line.len() - hash {
            diagnostics.extend(misspelled_keyword(at, word, &line[hash..]));
        } else if word.eq_ignore_ascii_case("begin_src") && is_bullet(&line[..hash]) {
            diagnostics.push(Diagnostic::warning(
                at,
                "a block cannot begin on the line of a list item",
                "Put `#+begin_src` on the next line, indented like the item's text.",
            ));
        }
    }
}

fn misspelled_keyword(at: Position, word: &str, line: &[u8]) -> Option<Diagnostic> {
    let lowercase = word.to_lowercase();
    if let Some(kind) = lowercase.strip_prefix("begin_") {
        suggest(kind, ["src"]).filter(|&near| near != kind)?;
        let text = format!("`#+{word}` begins no source block");
        return Some(Diagnostic::warning(at, text, "Did you mean `#+begin_src`?"));
    }
    let bare = !line[2 + word.len()..].starts_with(b":");
    if bare && KEYWORDS.contains(&lowercase.as_str()) {
        let text = format!("`#+{word}` has no colon, and no effect");
        return Some(Diagnostic::warning(at, text, format!("Write `#+{word}:`.")));
    }
    None
}

/// Names and header lines that belong to nothing.
fn orphan_keywords(document: &Document, diagnostics: &mut Vec<Diagnostic>) {
    let needs_owner = |key: &str| matches!(key, "NAME" | "HEADER" | "HEADERS");
    for keyword in
        document.keywords.iter().filter(|keyword| needs_owner(&keyword.key) && !document.blocks.is_empty())
    {
        let lowercase = keyword.key.to_lowercase();
        diagnostics.push(Diagnostic::warning(
            keyword.at,
            format!("this `#+{lowercase}:` belongs to nothing"),
            "Put it above `#+begin_src`, with no blank line between.",
        ));
    }
}

/// The line without blanks before it.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    &line[blanks..]
}

/// The word after `#+`: letters and underscores.
pub(super) fn keyword(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"#+")?;
    let length = rest.iter().take_while(|&&byte| byte.is_ascii_alphabetic() || byte == b'_').count();
    std::str::from_utf8(&rest[..length]).ok().filter(|word| !word.is_empty())
}

/// A bullet and nothing else.
fn is_bullet(before: &[u8]) -> bool {
    let text = trimmed(before).trim_ascii_end();
    let number = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    matches!((&text[number..], number), (b"-" | b"+", 0) | (b"." | b")", 1..))
        || text == b"*" && before.starts_with(b" ")
}

#[cfg(test)]
mod tests;
