//! Finds the part of a file that an `#+INCLUDE:` line names: a heading, a `CUSTOM_ID`, or a named element.

use std::ops::Range;

use super::grammar::{self, Rule};
use super::heading;
use super::lines::indentation;
use super::parse::{parse, todo_keywords};
use super::text::{Text, decode, trim_end};

/// The lines, numbered from 0, of what `search` names: `*A heading`, `#CUSTOM_ID`, or the name of an element or
/// heading; with `only_contents` without what makes it a heading, or a block.
pub(super) fn find(text: Text<'_>, search: &str, only_contents: bool) -> Option<Range<usize>> {
    if let Some(id) = search.strip_prefix('#') {
        let sections = heading::by_custom_id(text);
        let content_start = sections.get(&id.to_lowercase())?.start;
        let lines: Vec<&[u8]> = text.lines().collect();
        let lines_above = memchr::memchr_iter(b'\n', &text.bytes[..content_start]).count();
        let headline = (0..lines_above).rev().find(|&n| heading::level(lines[n]).is_some())?;
        return Some(subtree_lines(&lines, headline, only_contents));
    }
    if let Some(title) = search.strip_prefix('*') {
        return find_heading(text, title, only_contents);
    }
    find_named(text, search, only_contents).or_else(|| find_heading(text, search, only_contents))
}

/// What is under the heading of this title.
fn find_heading(text: Text<'_>, title: &str, only_contents: bool) -> Option<Range<usize>> {
    let todo = todo_keywords(&parse(text.bytes, &[]).keywords);
    let lines: Vec<&[u8]> = text.lines().collect();
    let wanted_title = words(title.split_whitespace());
    let is_wanted = |&n: &usize| {
        heading::level(lines[n]).is_some_and(|level| {
            words(title_words(&decode(&lines[n][level..]), &todo).into_iter()) == wanted_title
        })
    };
    let headline = (0..lines.len()).find(is_wanted)?;
    Some(subtree_lines(&lines, headline, only_contents))
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// A headline without its TODO keyword, priority, COMMENT, cookies and tags.
fn title_words<'t>(title: &'t str, todo: &[String]) -> Vec<&'t str> {
    let mut words: Vec<&str> = title.split_whitespace().collect();
    let is_tags = |word: &&str| word.len() > 2 && word.starts_with(':') && word.ends_with(':');
    words.pop_if(|word| is_tags(word));
    let mut words = words.as_slice();
    let is_todo = |word: &str| todo.iter().any(|keyword| keyword == word);
    let leading: [&dyn Fn(&str) -> bool; 3] =
        [&is_todo, &|word| word.starts_with("[#"), &|word| word == "COMMENT"];
    for is_removed in leading {
        words = words.split_first().filter(|(first, _)| is_removed(first)).map_or(words, |(_, rest)| rest);
    }
    let is_cookie = |word: &str| {
        word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).is_some_and(|inner| {
            inner.contains(['%', '/']) && inner.chars().all(|c| c.is_ascii_digit() || c == '%' || c == '/')
        })
    };
    words.iter().copied().filter(|word| !is_cookie(word)).collect()
}

/// The heading at line `headline` and all below it, or that without its line, planning and properties.
fn subtree_lines(lines: &[&[u8]], headline: usize, only_contents: bool) -> Range<usize> {
    let level = heading::level(lines[headline]).unwrap_or_default();
    let ends = |n: &usize| heading::level(lines[*n]).is_some_and(|other| other <= level);
    let end = (headline + 1..lines.len()).find(ends).unwrap_or(lines.len());
    if !only_contents {
        return headline..end;
    }
    let trimmed = |n: usize| lines.get(n).map_or(&[][..], |line| &line[indentation(line).0..]);
    let marker = |n: usize, marker: &[u8]| trim_end(trimmed(n)).eq_ignore_ascii_case(marker);
    let mut start = headline + 1;
    if start < end && grammar::matches(Rule::planning, &decode(trimmed(start))) {
        start += 1;
    }
    if start < end && marker(start, b":PROPERTIES:") {
        start = (start..end).find(|&n| marker(n, b":END:")).map_or(start, |n| n + 1);
    }
    start..end
}

/// The element with a line `#+name: name`.
fn find_named(text: Text<'_>, name: &str, only_contents: bool) -> Option<Range<usize>> {
    let tree = parse(text.bytes, &[]).tree;
    let is_named = |&node: &usize| {
        tree.affiliated(node).split(|&b| b == b'\n').any(|line| {
            let line = decode(&line[indentation(line).0..]).into_owned();
            let pair = grammar::read(Rule::affiliated, &line);
            pair.is_some_and(|pair| {
                grammar::part(&pair, Rule::naming).is_some()
                    && grammar::after(&line, &pair).trim().eq_ignore_ascii_case(name)
            })
        })
    };
    let node = (0..tree.nodes().len()).find(is_named)?;
    let children: Vec<usize> = tree.children(Some(node)).collect();
    let span = match (only_contents, children.as_slice()) {
        (true, [first, .., last]) => tree.span(*first).start..tree.span(*last).start,
        _ => tree.span(node),
    };
    let line = |at: usize| memchr::memchr_iter(b'\n', &text.bytes[..at.min(text.bytes.len())]).count();
    // The last element may end without a newline.
    let whole = usize::from(text.bytes.get(span.end.wrapping_sub(1)) != Some(&b'\n'));
    Some(line(span.start)..line(span.end) + whole)
}
