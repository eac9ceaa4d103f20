//! Classifies one line. The first byte decides where that suffices, the grammar otherwise.

use pest::iterators::Pair;

use super::grammar::{self, Rule};
use super::text::{decode, is_blank, trim_end};
use super::tree::Element;

/// What a line can be, for the element parser. A line that also ends a block says so apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Spaces and tabs, or nothing.
    Blank,
    /// Blank but for carriage returns: skipped between elements, yet no end of a paragraph.
    Return,
    /// Anything no rule knows.
    Text,
    /// `# …`
    Comment,
    /// `CLOCK: [2024-01-01 Mon 10:00]`
    Clock,
    /// Begins with `CLOCK:` without being a clock line.
    ClockStart,
    /// `: …`
    FixedWidth,
    /// `| …`
    Table,
    /// `+---+---+`
    GridRule,
    /// `-----`
    HorizontalRule,
    /// `%%(…`
    Diary,
    /// `[fn:1] …`
    Footnote,
    /// A list item.
    Item,
    /// A bullet where no item may begin: `*` alone at the margin.
    Bullet,
    /// `#+name:`, `#+header:`, `#+attr_html:` …
    Affiliated,
    /// `#+key: …`
    Keyword,
    /// `#+key[…]: …` and the like: a keyword that does not end a paragraph.
    Bracketed,
    /// `#+call: …`
    Call,
    /// `#+begin_NAME`
    Begin(Block),
    /// `#+begin: NAME`
    Dynamic,
    /// `#+begin:` without a name: a keyword.
    DynamicBare,
    /// `:NAME:`
    Drawer,
    /// `:END:`
    DrawerEnd,
    /// `\begin{NAME}`
    Latex,
}

/// The block types Org tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Src,
    Center,
    Quote,
    Comment,
    Example,
    Export,
    Verse,
    Special,
    /// A special block whose name is no plain word to a regexp (`align*`): a list does not see its end.
    Starred,
}

impl Block {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            3 if is("src") => Self::Src,
            5 if is("quote") => Self::Quote,
            5 if is("verse") => Self::Verse,
            6 if is("center") => Self::Center,
            6 if is("export") => Self::Export,
            7 if is("comment") => Self::Comment,
            7 if is("example") => Self::Example,
            _ if name.contains(['*', '+', '?', '[', '\\']) => Self::Starred,
            _ => Self::Special,
        }
    }

    pub(super) fn element(self) -> Element {
        match self {
            Self::Src => Element::Source,
            Self::Center => Element::Center,
            Self::Quote => Element::Quote,
            Self::Comment => Element::CommentBlock,
            Self::Example => Element::Example,
            Self::Export => Element::Export,
            Self::Verse => Element::Verse,
            Self::Special | Self::Starred => Element::Special,
        }
    }

    /// Whether other elements may stand in it.
    pub(super) fn holds_elements(self) -> bool {
        matches!(self, Self::Center | Self::Quote | Self::Special | Self::Starred)
    }
}

/// What a line says, beside its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) kind: Kind,
    pub(super) delimiter: Delimiter,
}

/// What a line opens or closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delimiter {
    Nothing,
    /// Begins a block, environment, or is one of its ends; in lower case.
    Opens(String),
    Closes(String),
    /// `#+end` without a colon, and with one.
    ClosesDynamic,
    ClosesDynamicWithColon,
}

impl Kind {
    fn plain(self) -> Reading {
        Reading { kind: self, delimiter: Delimiter::Nothing }
    }
}

/// Reads a line without its end; `indent` is the number of blanks (bytes) it begins with.
pub(super) fn read(line: &[u8], indent: usize) -> Reading {
    let rest = &line[indent..];
    let Some(&first) = rest.first() else { return Kind::Blank.plain() };
    match (first, rest.get(1)) {
        (b'\r', _) if rest.iter().all(|&b| b == b'\r' || is_blank(b)) => Kind::Return.plain(),
        (b'#', None | Some(b' ')) => Kind::Comment.plain(),
        (b'#', Some(b'+')) => read_hash(&decode(rest)),
        (b':', None | Some(b' ')) => Kind::FixedWidth.plain(),
        (b':', _) if trim_end(rest).ends_with(b":") => read_drawer(&decode(rest)).plain(),
        (b'|', _) => Kind::Table.plain(),
        (b'-' | b'+' | b'*' | b'0'..=b'9', _) => read_bullet(rest, indent).plain(),
        (b'\\', Some(b'b' | b'B')) => read_latex(&decode(rest)),
        (b'c' | b'C', Some(b'l' | b'L')) => read_clock(rest).plain(),
        (b'[', Some(b'f' | b'F')) if indent == 0 && grammar::matches(Rule::footnote, &decode(rest)) => {
            Kind::Footnote.plain()
        }
        (b'%', Some(b'%')) if indent == 0 && rest.get(2) == Some(&b'(') => Kind::Diary.plain(),
        _ => Kind::Text.plain(),
    }
}

fn read_hash(line: &str) -> Reading {
    let delimiter = read_end(line);
    // The first letter tells which rules can match at all.
    let rule = match line.as_bytes().get(2).map(u8::to_ascii_lowercase) {
        Some(b'b') => Rule::begin,
        Some(b'e') if memchr::memchr(b':', line.as_bytes()).is_none() => {
            return Reading { kind: Kind::Text, delimiter };
        }
        Some(b'a' | b'c' | b'd' | b'h' | b'l' | b'n' | b'p' | b'r' | b's' | b't') => Rule::hash,
        _ => Rule::keyword,
    };
    let Some(pair) = grammar::read(rule, line) else {
        return Reading { kind: Kind::Text, delimiter };
    };
    let kind = match pair.as_rule() {
        Rule::block_begin => {
            let name = grammar::part(&pair, Rule::block_name).map_or("", |name| name.as_str());
            return Reading {
                kind: Kind::Begin(Block::of(name)),
                delimiter: Delimiter::Opens(name.to_lowercase()),
            };
        }
        Rule::dynamic_begin if grammar::part(&pair, Rule::dynamic_name).is_some() => Kind::Dynamic,
        Rule::dynamic_begin => Kind::DynamicBare,
        Rule::affiliated => Kind::Affiliated,
        Rule::call => Kind::Call,
        _ if ends_paragraph(line) => Kind::Keyword,
        _ => Kind::Bracketed,
    };
    Reading { kind, delimiter }
}

/// Whether a keyword line ends a paragraph: not if it has a bracketed part, which few keywords may have.
fn ends_paragraph(line: &str) -> bool {
    let key = line.get(2..).unwrap_or_default();
    let word = key.find(super::text::is_whitespace).map_or(key, |n| &key[..n]);
    let Some(close) = key.rfind("]:") else { return true };
    match word.as_bytes()[..word.len().min(close)].iter().rposition(|&b| b == b'[') {
        None | Some(0) => true,
        Some(open) => ["caption", "results"].iter().any(|dual| key[..open].eq_ignore_ascii_case(dual)),
    }
}

fn read_end(line: &str) -> Delimiter {
    if !line.as_bytes().get(2..5).is_some_and(|end| end.eq_ignore_ascii_case(b"end")) {
        return Delimiter::Nothing;
    }
    match grammar::read(Rule::hash_end, line) {
        None => Delimiter::Nothing,
        Some(pair) => match grammar::part(&pair, Rule::block_name) {
            Some(name) => Delimiter::Closes(name.as_str().to_lowercase()),
            None if grammar::part(&pair, Rule::colon).is_some() => Delimiter::ClosesDynamicWithColon,
            None => Delimiter::ClosesDynamic,
        },
    }
}

fn read_drawer(line: &str) -> Kind {
    match grammar::read(Rule::drawer, line).as_ref().and_then(|pair| grammar::part(pair, Rule::drawer_name)) {
        None => Kind::Text,
        Some(name) if name.as_str().eq_ignore_ascii_case("end") => Kind::DrawerEnd,
        Some(_) => Kind::Drawer,
    }
}

fn read_bullet(rest: &[u8], indent: usize) -> Kind {
    // Most lines that begin so are text (`*bold*`, `2024 was …`): look at the byte after the bullet first.
    let bullet = match rest.iter().position(|b| !b.is_ascii_digit()) {
        Some(0) => 1,
        Some(n) if matches!(rest[n], b'.' | b')') => n + 1,
        _ => return Kind::Text,
    };
    match rest.get(bullet) {
        None | Some(b' ' | b'\t') if grammar::matches(Rule::item, &decode(rest)) => {
            if rest[0] == b'*' && indent == 0 { Kind::Bullet } else { Kind::Item }
        }
        Some(b'-')
            if rest.starts_with(b"-----") && grammar::matches(Rule::horizontal_rule, &decode(rest)) =>
        {
            Kind::HorizontalRule
        }
        Some(b'-') if rest[0] == b'+' && grammar::matches(Rule::grid_rule, &decode(rest)) => Kind::GridRule,
        _ => Kind::Text,
    }
}

fn read_latex(line: &str) -> Reading {
    let name = |pair: Pair<'_, Rule>| {
        grammar::part(&pair, Rule::environment).map(|name| name.as_str().to_ascii_lowercase())
    };
    match grammar::read(Rule::latex_begin, line).and_then(name) {
        Some(name) => Reading { kind: Kind::Latex, delimiter: Delimiter::Opens(name) },
        None => Kind::Text.plain(),
    }
}

fn read_clock(rest: &[u8]) -> Kind {
    if !rest.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"clock:")) {
        return Kind::Text;
    }
    if grammar::matches(Rule::clock, &decode(rest)) { Kind::Clock } else { Kind::ClockStart }
}

/// The name of the environment that ends at the end of `line`, in lower case.
pub(super) fn latex_end(line: &[u8]) -> Option<String> {
    let inner = trim_end(line).strip_suffix(b"}")?;
    let open = inner.iter().rposition(|&b| b == b'{')?;
    let (before, name) = (&inner[..open], &inner[open + 1..]);
    let end = before.len().checked_sub(4)?;
    let is_end = before[end..].eq_ignore_ascii_case(b"\\end")
        && !name.is_empty()
        && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'*');
    is_end.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

/// Whether text stands on an item's first line, after bullet, counter, checkbox and tag.
pub(super) fn item_has_text(line: &str) -> bool {
    let Some(head) = grammar::read(Rule::item_head, line) else { return true };
    let rest = grammar::after(line, &head).trim_end_matches([' ', '\t']);
    if rest.trim_end_matches('\r').is_empty() {
        return false;
    }
    let ordered = line.starts_with(|c: char| c.is_ascii_digit());
    // The tag of an item with a plain bullet is no text of it.
    let tag_only = !ordered && rest.strip_suffix("::").is_some_and(|tag| tag.ends_with([' ', '\t']));
    !tag_only
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> Kind {
        let indent = line.bytes().take_while(|&b| is_blank(b)).count();
        read(line.as_bytes(), indent).kind
    }

    #[rstest::rstest]
    #[case::blank(" \t", Kind::Blank)]
    #[case::lonely_return("  \r", Kind::Return)]
    #[case::comment("  # x", Kind::Comment)]
    #[case::hash_word("#x", Kind::Text)]
    #[case::src("#+Begin_SRC sh", Kind::Begin(Block::Src))]
    #[case::src_and_tab("#+begin_src\tsh", Kind::Begin(Block::Src))]
    #[case::glued("#+begin_srcsh", Kind::Begin(Block::Special))]
    #[case::no_name("#+begin_ x", Kind::Text)]
    #[case::end("#+end_src", Kind::Text)]
    #[case::end_with_colon("#+end_src:", Kind::Keyword)]
    #[case::name("  #+NAME: x", Kind::Affiliated)]
    #[case::results("#+RESULTS[0a1b]: x", Kind::Affiliated)]
    #[case::results_two_words("#+results[a b]: x", Kind::Affiliated)]
    #[case::result_takes_no_hash("#+result[0a]: x", Kind::Bracketed)]
    #[case::attribute("#+attr_html: x", Kind::Affiliated)]
    #[case::attribute_alone("#+attr_: x", Kind::Keyword)]
    #[case::keyword("#+title: x", Kind::Keyword)]
    #[case::keyword_glued("#+title:x:y z", Kind::Keyword)]
    #[case::bracketed("#+foo[x]: y", Kind::Bracketed)]
    #[case::no_keyword("#+title x: y", Kind::Text)]
    #[case::call("#+CALL: f()", Kind::Call)]
    #[case::dynamic("#+BEGIN: clocktable", Kind::Dynamic)]
    #[case::dynamic_glued("#+BEGIN:clocktable", Kind::Dynamic)]
    #[case::dynamic_bare("#+BEGIN: ", Kind::DynamicBare)]
    #[case::drawer(":LOG-book_1:  ", Kind::Drawer)]
    #[case::drawer_letters(":änderung:", Kind::Drawer)]
    #[case::drawer_end("  :end:", Kind::DrawerEnd)]
    #[case::no_drawer(":a b:", Kind::Text)]
    #[case::fixed(": x", Kind::FixedWidth)]
    #[case::fixed_alone(":", Kind::FixedWidth)]
    #[case::table("| a", Kind::Table)]
    #[case::grid("+--+---+ ", Kind::GridRule)]
    #[case::rule("------", Kind::HorizontalRule)]
    #[case::short_rule("----", Kind::Text)]
    #[case::dash("- a", Kind::Item)]
    #[case::dash_alone("-", Kind::Item)]
    #[case::dash_glued("-a", Kind::Text)]
    #[case::number("12) a", Kind::Item)]
    #[case::number_glued("12.5", Kind::Text)]
    #[case::letter("a. b", Kind::Text)]
    #[case::star(" * a", Kind::Item)]
    #[case::star_at_margin("*", Kind::Bullet)]
    #[case::bold("*a*", Kind::Text)]
    #[case::footnote("[fn:1] x", Kind::Footnote)]
    #[case::footnote_indented(" [fn:1] x", Kind::Text)]
    #[case::diary("%%(x)", Kind::Diary)]
    #[case::latex("\\begin{align*} x", Kind::Latex)]
    #[case::no_latex("\\begin{a b}", Kind::Text)]
    #[case::clock("CLOCK: [2024-01-01 Mon 10:00]--[2024-01-01 Mon 11:00] =>  1:00", Kind::Clock)]
    #[case::clock_sum("clock: =>  1:00", Kind::Clock)]
    #[case::clock_start("CLOCK: soon", Kind::ClockStart)]
    fn lines_have_a_kind(#[case] line: &str, #[case] expected: Kind) {
        assert_eq!(kind(line), expected);
    }

    #[rstest::rstest]
    #[case::plain("- a", true)]
    #[case::nothing("- ", false)]
    #[case::checkbox("- [X] ", false)]
    #[case::counter("1. [@5] [ ]", false)]
    #[case::tag("- tag ::", false)]
    #[case::tag_and_text("- tag :: x", true)]
    #[case::no_tag_in_ordered("1. tag ::", true)]
    fn items_with_text_are_recognised(#[case] line: &str, #[case] expected: bool) {
        assert_eq!(item_has_text(line), expected);
    }

    #[test]
    fn lines_that_are_not_utf8_are_recognised() {
        assert_eq!(read(b"#+begin_src sh \xff", 0).kind, Kind::Begin(Block::Src));
        assert_eq!(read(b"#+na\xffme: x", 0).kind, Kind::Keyword);
    }

    #[test]
    fn ends_of_environments_are_read() {
        assert_eq!(latex_end(b"x \\END{Align*} "), Some("align*".into()));
        assert_eq!(latex_end(b"\\end{a} x"), None);
        assert_eq!(latex_end(b"end{a}"), None);
    }
}
