//! Removes code references: `(ref:label)` at the end of a line of code is for readers, and must not run.

use std::borrow::Cow;

use regex::bytes::{NoExpand, Regex, RegexBuilder};

use super::document::Block;

/// What a label is written as where no `-l` says otherwise; `%s` is the label.
const DEFAULT_FORMAT: &str = "(ref:%s)";

/// The pattern of the format met last: most documents have but one.
#[derive(Debug, Default)]
pub(super) struct CoderefStripper {
    cached: Option<(String, Option<Regex>)>,
}

impl CoderefStripper {
    /// `body` without the labels that `block` has by its switches, and the blanks round them.
    pub(super) fn strip<'a>(&mut self, block: &Block, body: &'a [u8]) -> Cow<'a, [u8]> {
        let format = block.switches.as_deref().and_then(label_format).unwrap_or(DEFAULT_FORMAT);
        // Building a pattern takes longer than looking for a letter of it.
        let first = format.split("%s").find_map(|part| part.bytes().next());
        if first.is_some_and(|byte| {
            memchr::memchr2(byte.to_ascii_lowercase(), byte.to_ascii_uppercase(), body).is_none()
        }) {
            return Cow::Borrowed(body);
        }
        if self.cached.as_ref().is_none_or(|(cached, _)| cached != format) {
            self.cached = Some((format.to_owned(), pattern(format)));
        }
        match self.cached.as_ref().and_then(|(_, pattern)| pattern.as_ref()) {
            Some(pattern) => pattern.replace_all(body, NoExpand(b"")),
            None => Cow::Borrowed(body),
        }
    }
}

/// What stands in quotes after `-l`.
fn label_format(switches: &str) -> Option<&str> {
    let mut rest = switches;
    loop {
        rest = &rest[rest.find("-l ")? + 2..];
        let quoted = rest.trim_start_matches(' ').strip_prefix('"').and_then(|rest| rest.split_once('"'));
        if let Some((format, _)) = quoted.filter(|(format, _)| !format.is_empty()) {
            return Some(format);
        }
    }
}

/// A label with the blanks round it, at the end of a line; `None` for a format too long to be one.
fn pattern(format: &str) -> Option<Regex> {
    let parts: Vec<_> = format.split("%s").map(regex::escape).collect();
    let label = parts.join("[-a-zA-Z0-9_][-a-zA-Z0-9_ ]*");
    RegexBuilder::new(&format!("[ \t]*{label}[ \t]*$"))
        .case_insensitive(true)
        .multi_line(true)
        .size_limit(1 << 20)
        .build()
        .ok()
}
