//! Finds `src_LANG[…]{…}` and `call_NAME[…](…)[…]` in text.
//!
//! The text is scanned once from left to right, and objects whose contents Org does not parse are skipped: verbatim
//! text, links, macros, LaTeX, targets, export snippets. An object without an end is remembered, so that the time is
//! linear in the length of the text.

use std::ops::Range;

use memchr::memmem;

use super::brackets::Brackets;
use super::call::{non_blank, skip, to_text};
use super::document::{Call, Context, Document, InlineBlock, Position};
use super::text::{Text, decode, is_whitespace, to_u32};

/// Whether a text can hold anything of the kind at all.
pub(super) fn may_contain(bytes: &[u8]) -> bool {
    memmem::find(bytes, BLOCK_PREFIX).is_some() || memmem::find(bytes, CALL_PREFIX).is_some()
}

/// Finds the inline blocks and calls of `bytes`, a part of `text` whose first line has the number `first`.
pub(super) fn scan(text: Text<'_>, bytes: &[u8], first: u32, document: &mut Document) {
    if !may_contain(bytes) {
        return;
    }
    let mut scan = Scan {
        text,
        bytes,
        brackets: Brackets::new(bytes),
        unclosed: [false; CLOSERS.len()],
        name_ends: [0; 2],
        last_position: (0, first),
    };
    let mut at = 0;
    while let Some(n) = bytes[at..].iter().position(|b| b"sc:=~[@{<$\\".contains(b)) {
        at += n;
        at = match bytes[at] {
            b's' => scan.block(at, document),
            b'c' => scan.call(at, document),
            b':' => scan.plain_link(at),
            _ => scan.opaque_end(at),
        }
        .unwrap_or(at + 1);
    }
}

const BLOCK_PREFIX: &[u8] = b"src_";
const CALL_PREFIX: &[u8] = b"call_";

/// How many bytes before a place are looked at for the script that it may stand in.
const SCRIPT_LOOKBEHIND: usize = 64;

/// What ends what hides its contents.
const CLOSERS: [&[u8]; 9] = [b"=", b"~", b"@@", b"}}}", b"$$", b"\\)", b"\\]", b">", b"]]"];

struct Scan<'a> {
    text: Text<'a>,
    bytes: &'a [u8],
    brackets: Brackets<'a>,
    /// Which of [`CLOSERS`] do not come any more.
    unclosed: [bool; CLOSERS.len()],
    /// Where the name of a block, and of a call, ends that was looked for last.
    name_ends: [usize; 2],
    /// The place whose line was asked for last, and its line.
    last_position: (usize, u32),
}

impl Scan<'_> {
    /// The inline block at `at`, if there is one; returns where to go on.
    fn block(&mut self, at: usize, document: &mut Document) -> Option<usize> {
        let (language, after) = self.named(at, BLOCK_PREFIX, *b"[{")?;
        let (parameters, after) = self.header(after);
        let (body, end) = self.brackets.contents(b'{', after)?;
        let body = to_text(self.text, body);
        let span = self.span(at, end);
        let at = self.position(at);
        let context = Context::default();
        document.inline_blocks.push(InlineBlock { language, parameters, body, at, span, context });
        Some(end)
    }

    /// The inline call at `at`, if there is one; returns where to go on.
    fn call(&mut self, at: usize, document: &mut Document) -> Option<usize> {
        let (name, after) = self.named(at, CALL_PREFIX, *b"[(")?;
        let (inside_header, after) = self.header(after);
        let (arguments, after) = self.brackets.contents(b'(', after)?;
        let (end_header, after) = self.header(after);
        let arguments = non_blank(to_text(self.text, arguments));
        let span = self.span(at, after);
        let at = self.position(at);
        let context = Context::default();
        document.inline_calls.push(Call {
            name: Some(name),
            inside_header,
            arguments,
            end_header,
            at,
            span,
            context,
        });
        Some(after)
    }

    /// Bytes of the document.
    fn span(&self, from: usize, to: usize) -> Range<usize> {
        // What is scanned is a part of the text.
        let part =
            self.bytes.as_ptr().addr().saturating_sub(self.text.bytes.as_ptr().addr()) + self.text.mark;
        part + from..part + to
    }

    /// `prefix` at the beginning of a word, then a name up to one of `opens`, which a blank may not precede.
    fn named(&mut self, at: usize, prefix: &[u8], opens: [u8; 2]) -> Option<(String, usize)> {
        let start = at + self.bytes.get(at..)?.starts_with(prefix).then_some(prefix.len())?;
        if !self.begins_word(at) {
            return None;
        }
        let is_stop = |b: &u8| b" \t\n".contains(b) || opens.contains(b);
        // A name that does not end is not looked through again from within.
        let stop = &mut self.name_ends[usize::from(prefix == CALL_PREFIX)];
        if *stop < start {
            let rest = self.bytes.get(start..)?;
            *stop = start + rest.iter().position(is_stop).unwrap_or(rest.len());
        }
        let stop = *stop;
        if stop == start || self.bytes.get(stop).is_none_or(|b| !opens.contains(b)) {
            return None;
        }
        Some((decode(&self.bytes[start..stop]).into_owned(), stop))
    }

    /// Header arguments in square brackets, on one line.
    fn header(&mut self, at: usize) -> (Option<String>, usize) {
        let Some((header, after)) = self.brackets.contents(b'[', at) else { return (None, at) };
        let header = to_text(self.text, header);
        let lines = header.trim_matches([' ', '\t', '\n', '\r']).split('\n');
        let text: Vec<_> = lines
            .enumerate()
            .map(|(n, line)| if n == 0 { line } else { line.trim_start_matches([' ', '\t']) })
            .collect();
        (non_blank(text.join(" ")), after)
    }

    /// Whether `at` stands in a sub- or superscript without brackets, as in `x_src`, which goes on to the next `_`.
    fn in_script(&self, at: usize) -> bool {
        let text = decode(&self.bytes[at.saturating_sub(SCRIPT_LOOKBEHIND)..at]);
        let text = text.trim_end_matches(|c: char| c.is_alphanumeric() || ".,\\".contains(c));
        let text = text.strip_suffix(['+', '-']).unwrap_or(text);
        let base = text.strip_suffix(['_', '^']).and_then(|text| text.chars().next_back());
        base.is_some_and(|c| !is_whitespace(c))
    }

    /// Whether a word begins at `at` that is not the name of a command of LaTeX, nor a script.
    fn begins_word(&self, at: usize) -> bool {
        let before = decode(&self.bytes[at.saturating_sub(4)..at]).chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "$%'\\".contains(c)) && !self.in_script(at)
    }

    /// Where the link without brackets ends that has its first colon at `at`.
    fn plain_link(&self, at: usize) -> Option<usize> {
        let mut names = LINK_TYPES.iter().filter_map(|link| at.checked_sub(link.len()));
        names.find(|&from| is_link(&self.bytes[from..at]) && self.begins_word(from))?;
        let (mut to, mut end) = (at + 1, None);
        loop {
            let rest = &self.bytes[to..];
            if let Some(length) = bracket_length(rest, true) {
                to += length;
                end = Some(to);
            } else {
                let plain = rest.iter().position(|b| PATH_ENDS.contains(b)).unwrap_or(rest.len());
                // It does not end in punctuation. Its first character may be any.
                let text = decode(&rest[..plain]);
                let first = text.chars().next().filter(|_| to == at + 1).map_or(0, char::len_utf8);
                let trimmed =
                    text[first..].trim_end_matches(|c: char| c.is_ascii_punctuation() && !"-/".contains(c));
                if !trimmed.is_empty() {
                    end = Some(to + first + trimmed.len());
                }
                if plain == 0 {
                    return end;
                }
                to += plain;
            }
        }
    }

    /// Where what hides its contents and begins at `at` ends, if it is anything of the kind.
    fn opaque_end(&mut self, at: usize) -> Option<usize> {
        let rest = &self.bytes[at..];
        match (rest[0], rest.get(1)?) {
            (b'=', _) => self.verbatim(at, 0),
            (b'~', _) => self.verbatim(at, 1),
            (b'@', b'@') => {
                let name = rest[2..].iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-')?;
                (name > 0 && rest[2 + name] == b':').then(|| self.after_closer(at + 2, 2))?
            }
            (b'{', b'{') if rest.get(2) == Some(&b'{') && rest.get(3)?.is_ascii_alphabetic() => {
                let name = rest[3..].iter().position(|b| !b.is_ascii_alphanumeric() && !b"-_".contains(b))?;
                let end = self.after_closer(at + 3, 3)?;
                let bare = at + 3 + name + 3 == end;
                let arguments = rest[3 + name] == b'(' && self.bytes[end - 4] == b')';
                (bare || arguments).then_some(end)
            }
            (b'$', b'$') => self.after_closer(at + 2, 4),
            (b'$', _) => self.formula(at),
            (b'\\', b'(') => self.after_closer(at + 2, 5),
            (b'\\', b'[') => self.after_closer(at + 2, 6),
            (b'\\', _) => latex_command_length(rest).map(|long| at + long),
            (b'[', b'[') => self.link(at),
            (b'<', b'<') => {
                let target_end =
                    next_angle_or_newline(self.bytes, at + 2 + usize::from(rest.get(2) == Some(&b'<')));
                self.bytes[target_end..].starts_with(b">>").then_some(target_end + 2)
            }
            (b'<', _) => {
                let colon = LINK_TYPES
                    .iter()
                    .map(|link| link.len() + 1)
                    .find(|colon| rest.get(*colon) == Some(&b':') && is_link(&rest[1..*colon]))?;
                self.after_closer(at + colon + 1, 7)
            }
            _ => None,
        }
    }

    /// Where the end of kind `end` that comes next from `from` on is over.
    fn after_closer(&mut self, from: usize, end: usize) -> Option<usize> {
        if self.unclosed[end] {
            return None;
        }
        let found = memmem::find(self.bytes.get(from..)?, CLOSERS[end]);
        self.unclosed[end] = found.is_none();
        Some(from + found? + CLOSERS[end].len())
    }

    /// `=…=` and `~…~`: no blank just inside, no word just outside.
    fn verbatim(&mut self, at: usize, end: usize) -> Option<usize> {
        let before = decode(&self.bytes[at.saturating_sub(4)..at]).chars().next_back();
        let opens = before.is_none_or(|c| is_whitespace(c) || "-('\"{".contains(c));
        if !opens || self.bytes.get(at + 1).is_none_or(|&b| is_whitespace(char::from(b))) {
            return None;
        }
        let mut from = at + 1;
        // The mark itself may stand right after the first one.
        from += usize::from(self.bytes[from] == self.bytes[at]);
        loop {
            let after = self.after_closer(from, end)?;
            let last = decode(&self.bytes[after.saturating_sub(5)..after - 1]).chars().next_back();
            let next = decode(&self.bytes[after..self.bytes.len().min(after + 4)]).chars().next();
            let closes = next.is_none_or(|c| is_whitespace(c) || "-.,;:!?'\")}\\[".contains(c));
            if closes && last.is_some_and(|c| !is_whitespace(c)) {
                return Some(after);
            }
            // No closing mark before this one: looking on from here costs nothing twice only if it is found.
            from = after;
        }
    }

    /// `$…$`.
    fn formula(&self, at: usize) -> Option<usize> {
        let inner = self.bytes.get(at + 1..)?;
        if at > 0 && self.bytes[at - 1] == b'$' || b" \t\n,.;".contains(inner.first()?) {
            return None;
        }
        let close = at + 1 + memchr::memchr(b'$', inner)?;
        let next = decode(&self.bytes[close + 1..self.bytes.len().min(close + 5)]).chars().next();
        let ends = next.is_none_or(|c| !c.is_alphanumeric() && !"$%&*+/=\\_|~".contains(c));
        (!b" \t\n,.".contains(&self.bytes[close - 1]) && ends).then_some(close + 1)
    }

    /// The path of a link: what stands in its first brackets.
    fn link(&mut self, at: usize) -> Option<usize> {
        let path = self.bytes.get(at + 2..)?;
        let mut escaped = false;
        for (n, &byte) in path.iter().enumerate() {
            match byte {
                b'\\' => escaped = !escaped,
                b'[' | b']' if !escaped => {
                    let after = at + 2 + n + 2;
                    return match path.get(n + 1) {
                        Some(b']') if byte == b']' && n > 0 => Some(after),
                        // What it is called may hold blocks, and has to end.
                        Some(b'[') if byte == b']' && n > 0 => self.after_closer(after + 1, 8).map(|_| after),
                        _ => None,
                    };
                }
                _ => escaped = false,
            }
        }
        None
    }

    fn position(&mut self, at: usize) -> Position {
        let (from, line) = self.last_position;
        let line = line.saturating_add(to_u32(memchr::memchr_iter(b'\n', &self.bytes[from..at]).count()));
        self.last_position = (at, line);
        let start = memchr::memrchr(b'\n', &self.bytes[..at]).map_or(0, |n| n + 1);
        Position::in_line(&self.bytes[start..at], line, at - start)
    }
}

fn is_link(name: &[u8]) -> bool {
    LINK_TYPES.iter().any(|link| name.eq_ignore_ascii_case(link.as_bytes()))
}

/// What a path without brackets ends before, where no brackets in pairs do.
const PATH_ENDS: &[u8] = b"][ \t\n()<>";

/// How long the brackets are, of any kind, that `bytes` begins with and that end within the word; in them may be such
/// brackets that hold none.
fn bracket_length(bytes: &[u8], may_nest: bool) -> Option<usize> {
    let mut at = usize::from(b"<([".contains(bytes.first()?));
    if at == 0 {
        return None;
    }
    loop {
        at += bytes[at..].iter().position(|b| PATH_ENDS.contains(b))?;
        if b"])>".contains(&bytes[at]) {
            return Some(at + 1);
        }
        at += bracket_length(&bytes[at..], false).filter(|_| may_nest)?;
    }
}

/// How long the command of LaTeX is that `bytes` begins with, with its arguments.
fn latex_command_length(bytes: &[u8]) -> Option<usize> {
    let letters = bytes.iter().skip(1).take_while(|b| b.is_ascii_alphabetic()).count();
    let mut at = (letters > 0).then_some(1 + letters)?;
    at += usize::from(bytes.get(at) == Some(&b'*'));
    loop {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        let (length, close) = match bytes.get(at) {
            Some(b'[') => (rest.iter().position(|b| b"][{}\n".contains(b)), b']'),
            Some(b'{') => (rest.iter().position(|b| b"{}\n".contains(b)), b'}'),
            _ => return Some(at),
        };
        match length.filter(|n| rest[*n] == close) {
            Some(n) => at += n + 2,
            None => return Some(at),
        }
    }
}

/// The next angle bracket or line end.
fn next_angle_or_newline(bytes: &[u8], from: usize) -> usize {
    let from = skip(bytes, from, b"");
    let rest = bytes.get(from..).unwrap_or_default();
    from.min(bytes.len()) + memchr::memchr3(b'<', b'>', b'\n', rest).unwrap_or(rest.len())
}

/// What may stand before the colon of a link without brackets.
const LINK_TYPES: [&str; 17] = [
    "http",
    "https",
    "ftp",
    "mailto",
    "file",
    "file+sys",
    "file+emacs",
    "help",
    "elisp",
    "shell",
    "doi",
    "news",
    "id",
    "info",
    "irc",
    "attachment",
    "docview",
];

#[cfg(test)]
mod tests {
    use crate::parse;

    fn scan_document(source: &str) -> String {
        let document = parse(source.as_bytes(), &[]);
        let mut all: Vec<_> = document
            .inline_blocks
            .iter()
            .map(|b| {
                (b.at, format!("{} {:?} {:?}", b.language, b.parameters.as_deref().unwrap_or(""), b.body))
            })
            .collect();
        let calls = document.inline_calls.iter();
        all.extend(calls.map(|c| {
            (c.at, format!("{:?} {:?} {:?} {:?}", c.name, c.inside_header, c.arguments, c.end_header))
        }));
        all.sort();
        all.iter()
            .map(|(at, text)| format!("{}:{} {text}\n", at.line, at.column))
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn inline_blocks_and_calls_are_found() {
        let source = "a src_sh{echo} b call_f(x)[:y] =src_sh{no}= xsrc_sh{no} (src_sh[:a b]{c {d} e}) ~call_g()~\n\
                      - src_sh{tag} :: call_h(1)\n\
                      | src_sh{cell} | a |\n\
                      * head src_sh{title}\n\
                      #+caption: src_sh{cap}\n[[file:a]]\n\n\
                      #+begin_verse\nsrc_sh{verse}\n#+end_verse\n\
                      [[http://a][src_sh{desc}]] {{{m(src_sh{mac})}}} $src_sh{tex}$ \\(src_sh{te}\\) <<src_sh{t}>> \
                      [fn::src_sh{f}] @@html:src_sh{x}@@ http://src_sh{p} *src_sh{b}* src_sh{a\nb} src_sh [x]{a} \
                      src_py[x] {b} ^{src_sh{sup}} src_sh{open\n# src_sh{c}\n: src_sh{c}\n#+title: src_sh{t}\n";
        insta::assert_snapshot!(scan_document(source));
    }

    #[rstest::rstest]
    #[case::script("a_src_sh{x}", false)]
    #[case::signed_script("a^-.src_sh{x}", false)]
    #[case::script_after_a_bracket(")_call_f()", false)]
    #[case::not_after_a_blank("a _src_sh{x}", true)]
    #[case::script_in_brackets("a_{b} src_sh{x} ^{src_sh{x}}", true)]
    #[case::script_that_another_character_ends("a_b-src_sh{x}", true)]
    #[case::command("\\src_sh{x} \\call_f()", false)]
    #[case::argument_of_a_command("\\foo[a]{call_f()}", false)]
    #[case::after_a_command("\\foo{a}src_sh{x}", true)]
    #[case::link("see http://a/:src_sh{x}", false)]
    #[case::link_with_brackets("http://a[b](c(d))src_sh{x}", false)]
    #[case::link_that_ends_before("http://a(b src_sh{x}", true)]
    #[case::scheme_within_a_word("'http:src_sh{x}", true)]
    #[case::angle_link("<http://a b\nc src_sh{x}>", false)]
    #[case::angles_of_something_else("<a b:src_sh{x}>", true)]
    #[case::snippet("@@a-1:src_sh{x}@@", false)]
    #[case::snippet_without_a_name("@@ src_sh{x}@@", true)]
    #[case::macro_("{{{a(src_sh{x})}}} {{{b}}}", false)]
    #[case::macro_that_does_not_close("{{{a(src_sh{x}}}}", true)]
    #[case::link_whose_name_does_not_close("[[src_sh{x}][a", true)]
    #[case::formula("$a src_sh{x}$, a", false)]
    #[case::no_formula("$a src_sh{x}$% $b src_sh{x}$\u{e9}", true)]
    fn other_objects_hide_inline_code(#[case] source: &str, #[case] shows: bool) {
        assert_eq!(!scan_document(source).is_empty(), shows, "{}", scan_document(source));
    }

    #[test]
    fn unclosed_objects_take_linear_time() {
        for piece in [
            "src_a{", "call_b(", "=a ", "~", "{{{a", "{{{a(", "\\(", "\\a{", "\\a[", "$a ", "@@", "@@a:",
            "[[", "[[a][", "<<", "<a", "<http:a", "http:(", "http:(a(", "a_", "src_a[", "src_",
        ] {
            let source = piece.repeat(200_000);
            assert_eq!(scan_document(&source), "", "{piece}");
        }
    }
}
