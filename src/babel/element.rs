//! Reads named elements of a document as values, as `org-babel-read-element` does.

use borges_org::{self as org, Document, Element};

use super::byte_text;
use super::import;
use super::read::{self, read};
use super::value::Value;

/// What a named element of a document holds: a table, a list, an example, text. `None` for what holds no value; a
/// source block is no value but yields one.
pub fn element(document: &Document, node: usize) -> Option<Value> {
    let tree = &document.tree;
    let kind = tree.nodes().get(node)?.element;
    let affiliated = tree.affiliated(node).len();
    let subtree: Vec<u8> = tree.subtree(node).flat_map(|inner| tree.own_text(inner)).copied().collect();
    let text = byte_text::decode(subtree.get(affiliated..).unwrap_or_default()).replace("\r\n", "\n");
    let text = text.trim_end_matches(['\n', ' ', '\t']);
    Some(match kind {
        Element::FixedWidth => {
            let lines: Vec<&str> = text.lines().map(without_colon).collect();
            let value = lines.join("\n");
            let value = value.trim_matches([' ', '\t', '\n', '\r']);
            read::number(value).unwrap_or_else(|| Value::text(value))
        }
        Element::Table => table(text),
        Element::List => list(text),
        Element::Example | Element::Export => Value::Text(org::dedent(&unescape(&contents(text)))),
        Element::Center | Element::Quote | Element::Verse | Element::Special => {
            Value::Text(org::dedent(&contents(text)))
        }
        Element::Paragraph => Value::Text(format!("{text}\n")),
        _ => return None,
    })
}

/// A table in Org's notation; `#+tblfm:` lines are none of it.
pub(super) fn table(text: &str) -> Value {
    let row = |line: &str| {
        if !line.trim_start_matches([' ', '\t']).starts_with('|') {
            return None;
        }
        Some(
            import::cells(line)
                .map_or_else(Value::rule, |cells| Value::list(cells.iter().map(|cell| read(cell)).collect())),
        )
    };
    Value::list(text.lines().map_while(row).collect())
}

/// The items of a list in Org's notation, without those within them.
pub(super) fn list(text: &str) -> Value {
    let mut items: Vec<String> = Vec::new();
    let mut top = None;
    let mut inner: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let top = *top.get_or_insert(indent);
        match bullet(&line[indent..]) {
            Some(rest) if indent <= top => {
                items.push(rest.to_owned());
                inner = None;
            }
            Some(_) => {
                inner.get_or_insert(indent);
            }
            None => {
                // Text of an item goes on, unless it is that of one within.
                if inner.is_none()
                    && let Some(item) = items.last_mut()
                    && !line.trim().is_empty()
                {
                    item.push('\n');
                    item.push_str(line.trim_start());
                }
            }
        }
    }
    Value::list(items.iter().map(|item| read(item.trim_end())).collect())
}

/// What follows the bullet of an item.
fn bullet(line: &str) -> Option<&str> {
    let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
    let after = match line.strip_prefix(['-', '+', '*']) {
        Some(after) => after,
        None if digits > 0 => line[digits..].strip_prefix(['.', ')'])?,
        None => return None,
    };
    (after.is_empty() || after.starts_with([' ', '\t'])).then(|| after.trim_start_matches([' ', '\t']))
}

/// A line `: text` without its colon.
fn without_colon(line: &str) -> &str {
    let line = line.trim_start_matches([' ', '\t']);
    let line = line.strip_prefix(':').unwrap_or(line);
    line.strip_prefix(' ').unwrap_or(line)
}

/// The lines between the first and the last.
fn contents(block: &str) -> String {
    let lines: Vec<&str> = block.lines().collect();
    let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
    inner.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Without the commas that keep lines from being Org.
fn unescape(text: &str) -> String {
    let line = |line: &str| {
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        let commas = line[blanks..].len() - line[blanks..].trim_start_matches(',').len();
        let rest = &line[blanks + commas..];
        if commas > 0 && (rest.starts_with('*') || rest.starts_with("#+")) {
            format!("{}{rest}", &line[..blanks + commas - 1])
        } else {
            line.to_owned()
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("| a | 1 |\n|---+---|\n| b | 2.50 |\n", "((\"a\" 1) hline (\"b\" 2.5))")]
    #[case("  | a |  |\n#+tblfm: $2=1\n", "((\"a\" \"\"))")]
    #[case("- a\n- 2\n  - inner\n- c d\n", "(\"a\" 2 \"c d\")")]
    #[case("1. x\n2. 7\n", "(\"x\" 7)")]
    #[case(": a\n:   b\n", "\"a\n  b\"")]
    #[case(": 7\n", "7")]
    #[case("#+begin_example\n  a\n   ,* b\n#+end_example\n", "\"a\n * b\n\"")]
    #[case("#+begin_quote\nq\n#+end_quote\n", "\"q\n\"")]
    #[case("text\nmore\n", "\"text\nmore\n\"")]
    fn elements_are_read(#[case] source: &str, #[case] expected: &str) {
        let document = org::parse(format!("#+name: x\n{source}").as_bytes(), &[]);
        let node = (0..document.tree.nodes().len()).find(|&node| !document.tree.affiliated(node).is_empty());
        assert_eq!(element(&document, node.unwrap()).unwrap().prin1(), expected);
    }
}
