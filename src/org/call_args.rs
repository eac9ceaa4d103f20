//! The header arguments of a called block, and those of inline code.

use super::document::{Block, InlineBlock, Origin, Param, Position, Value};
use super::header_args::{self, HeaderText};
use super::lisp;
use super::merge::merge;

/// The header arguments of `block` as it is called: its own, then in the order of the parameters those inherited where
/// the call stands, those in square brackets before its arguments, its arguments, and those behind them.
///
/// An error says what cannot be read; all of it stands at `at`, where the call does.
pub fn merge_call_args(
    block: &Block,
    inherited: &[Param],
    inside: Option<&str>,
    arguments: &[&str],
    end: Option<&str>,
    at: Position,
) -> Result<Vec<Param>, (Position, String)> {
    let mut params: Vec<Param> = block.params.iter().chain(inherited).cloned().collect();
    params.extend(read(inside, at)?);
    params.extend(arguments.iter().map(|&text| variable(text, at)));
    params.extend(read(end, at)?);
    merge(params, block.name.as_deref())
}

/// The header arguments of code within text.
///
/// An error says what cannot be read, and where.
pub fn inline_params(block: &InlineBlock) -> Result<Vec<Param>, (Position, String)> {
    let own = read(block.parameters.as_deref(), block.at)?;
    merge(block.context.inherited.iter().cloned().chain(own), None)
}

/// The arguments of a call, parted by commas that stand neither in quotes nor in brackets,
/// `org-babel-ref-split-args`.
pub fn split_arguments(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut start) = (0_usize, false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn read(text: Option<&str>, at: Position) -> Result<Vec<Param>, (Position, String)> {
    let params = header_args::parse(&HeaderText::new(text.unwrap_or_default(), at, Origin::Block));
    let params = params.map_err(|(_, why)| (at, why))?;
    Ok(params.into_iter().map(|param| Param { at, ..param }).collect())
}

/// `name=value` as a variable.
fn variable(text: &str, at: Position) -> Param {
    let lisp = text.split_once('=').is_some_and(|(_, value)| lisp::is_code(value.trim_start()));
    let text = text.to_owned();
    Param { key: ":var".to_owned(), value: Value::Text(text.clone()), text, lisp, at, origin: Origin::Block }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[rstest::rstest]
    #[case("", &[])]
    #[case("a=1", &["a=1"])]
    #[case(" a=1 , b = f(x=2, y=[1,2]),c=\"x, \\\"y\" ", &["a=1", "b = f(x=2, y=[1,2])", "c=\"x, \\\"y\""])]
    #[case("a=t[1,2],b=(open", &["a=t[1,2]", "b=(open"])]
    fn call_arguments_are_split(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(split_arguments(text), expected);
    }

    #[test]
    fn arguments_of_a_call_override_those_of_the_block() {
        let source = "#+property: header-args :wrap a\n#+name: f\n#+begin_src sh :var x=1 y=2 :results output\n\
                      #+end_src\n* H\n:PROPERTIES:\n:header-args: :wrap b\n:END:\n#+call: f[:dir d](y=5) :results raw\n\
                      src_sh[:dir e]{true}\n* COMMENT No\nsrc_sh{false}\n";
        let document = parse(source.as_bytes(), &[]);
        let joined = |params: Vec<Param>| {
            params.iter().map(|p| format!("{} {}", p.key, p.text)).collect::<Vec<_>>().join(" | ")
        };
        let call = &document.calls[0];
        let arguments = split_arguments(call.arguments.as_deref().unwrap());
        let params = merge_call_args(
            &document.blocks[0],
            &call.context.inherited,
            call.inside_header.as_deref(),
            &arguments,
            call.end_header.as_deref(),
            call.at,
        );
        assert_eq!(joined(params.unwrap()), ":results raw output | :var x=1 | :var y=5 | :dir d | :wrap b");
        let inline = &document.inline_blocks;
        assert_eq!(joined(inline_params(&inline[0]).unwrap()), ":dir e | :wrap b");
        assert!(inline[1].context.commented && !inline[0].context.commented);
    }
}
