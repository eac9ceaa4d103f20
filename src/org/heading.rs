//! The level of a headline, and headings by their `CUSTOM_ID`: a noweb reference that names one expands to all the
//! text below the heading.

use std::collections::HashMap;
use std::ops::Range;

use super::grammar::{self, Rule};
use super::lines::indentation;
use super::text::{Text, decode, trim_end};

/// Where a reader of lines is in a heading's first ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Right under the heading, or under its planning line.
    AfterHeadline,
    Drawer,
    Text,
}

/// What is under each heading with a `CUSTOM_ID`, its drawer left out, by the id in small letters; of several
/// with the same id the first.
pub(super) fn by_custom_id(text: Text<'_>) -> HashMap<String, Range<usize>> {
    let mut found: Vec<(String, Range<usize>)> = Vec::new();
    // Level, and number among the found, of the headings that are open.
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut state = State::Text;
    let mut ids: Vec<String> = Vec::new();
    let mut at = 0;
    while at < text.bytes.len() {
        let (line, next) = text.line(at);
        let rest = &line[indentation(line).0..];
        if let Some(level) = level(line) {
            while let Some((_, ended)) = open.pop_if(|(other, _)| *other >= level) {
                for n in ended {
                    // The line end before the next heading does not count.
                    let before = text.bytes[..at].strip_suffix(b"\n").unwrap_or_default();
                    let end = text.without_cr(before).len();
                    found[n].1.end = end.max(found[n].1.start);
                }
            }
            open.push((level, Vec::new()));
            ids.clear();
            state = State::AfterHeadline;
        } else if state == State::AfterHeadline {
            if trim_end(rest).eq_ignore_ascii_case(b":PROPERTIES:") {
                state = State::Drawer;
            } else if !matches!(rest.first(), Some(b'C' | b'c' | b'D' | b'd' | b'S' | b's'))
                || !grammar::matches(Rule::planning, &decode(rest))
            {
                state = State::Text;
            }
        } else if state == State::Drawer {
            if trim_end(rest).eq_ignore_ascii_case(b":END:") {
                for id in ids.drain(..) {
                    if let Some((_, numbers)) = open.last_mut() {
                        numbers.push(found.len());
                    }
                    found.push((id, next..text.bytes.len()));
                }
                state = State::Text;
            } else if grammar::matches(Rule::property, &decode(trim_end(rest))) {
                ids.extend(custom_id(rest));
            } else {
                // One line that sets no property, and it is no drawer of properties.
                state = State::Text;
                ids.clear();
            }
        }
        at = next;
    }
    let mut sections = HashMap::new();
    for (id, range) in found {
        sections.entry(id).or_insert(range);
    }
    sections
}

/// The level of a headline, which is its number of stars; `None` for a line that is no headline.
pub(super) fn level(line: &[u8]) -> Option<usize> {
    let stars = line.iter().take_while(|&&b| b == b'*').count();
    (stars > 0 && line.get(stars) == Some(&b' ')).then_some(stars)
}

/// The value of `:CUSTOM_ID: value`, in small letters.
fn custom_id(line: &[u8]) -> Option<String> {
    let (key, value) = line.split_at_checked(":custom_id:".len())?;
    let value = decode(trim_end(value));
    let trimmed = value.trim_start_matches([' ', '\t']);
    (key.eq_ignore_ascii_case(b":custom_id:") && trimmed.len() < value.len() && !trimmed.is_empty())
        .then(|| trimmed.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_end_at_the_next_heading_of_their_level() {
        let source = b"* a\nSCHEDULED: <2024-01-01>\n:PROPERTIES:\n:CUSTOM_ID: One\n:END:\ntext\n\
                       ** b\n:properties:\n:custom_id:  two \n:end:\nmore\n* c\n\n:PROPERTIES:\n:CUSTOM_ID: no\n:END:\n\
                       * d\n:PROPERTIES:\n:CUSTOM_ID: nor\n\n:END:\n";
        let text = Text::new(source);
        let mut sections: Vec<_> = by_custom_id(text)
            .into_iter()
            .map(|(id, range)| (id, String::from_utf8_lossy(&text.bytes[range]).into_owned()))
            .collect();
        sections.sort();
        let one = "text\n** b\n:properties:\n:custom_id:  two \n:end:\nmore";
        assert_eq!(sections, [("one".into(), one.into()), ("two".into(), "more".into())]);
    }
}
