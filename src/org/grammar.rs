//! The parser generated from `grammar/org.pest`; its rules are applied to single lines.

use pest::Parser as _;
use pest::iterators::Pair;

#[derive(pest_derive::Parser)]
#[grammar = "../../grammar/org.pest"]
struct Lines;

/// What `rule` makes of the beginning of `line`; `None` where it does not match.
pub(super) fn read(rule: Rule, line: &str) -> Option<Pair<'_, Rule>> {
    Lines::parse(rule, line).ok()?.next()
}

/// Whether `rule` matches the beginning of `line`.
pub(super) fn matches(rule: Rule, line: &str) -> bool {
    Lines::parse(rule, line).is_ok()
}

/// The part of `pair` that `rule` matched, if any.
pub(super) fn part<'i>(pair: &Pair<'i, Rule>, rule: Rule) -> Option<Pair<'i, Rule>> {
    pair.clone().into_inner().find(|inner| inner.as_rule() == rule)
}

/// What follows `pair` on `line`.
pub(super) fn after<'i>(line: &'i str, pair: &Pair<'i, Rule>) -> &'i str {
    &line[pair.as_span().end()..]
}
