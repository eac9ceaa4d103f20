//! The elements of a section, as `org-element` parses them, down to its source blocks and keywords.
//!
//! The lines are read once from first to last with a stack of open elements, so the time is linear in the number of
//! lines.

use super::block_header::{self, PendingBlock};
use super::brackets::Brackets;
use super::call;
use super::document::{Document, Keyword, Position, UnterminatedBlock};
use super::grammar::{self, Rule};
use super::inline;
use super::line::{self, Block, Kind};
use super::lines::{Lines, indentation};
use super::list::Lists;
use super::text::{Text, decode, to_u32};
use super::tree::{Builder, Element};

/// How many elements around a block are told, from the outermost: a block in a thousand others need not
/// carry a thousand names.
const MAX_WITHIN: usize = 64;

/// An element that is open.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// `None` is the section itself.
    element: Option<Element>,
    /// The line its contents end before.
    limit: u32,
    /// Where the walk goes on after it.
    resume: u32,
    /// The list structure that holds in it.
    list: Option<u32>,
    number: u32,
}

/// Walks sections; what it finds goes to a [`Document`] and a list of [`PendingBlock`]s.
#[derive(Debug, Default)]
pub(super) struct ElementParser {
    lines: Lines,
    lists: Lists,
    frames: Vec<Frame>,
    frame_count: u32,
    /// The first of `lines.sources` not yet passed.
    next_source: usize,
    /// Something inline may stand in the section.
    inline: bool,
    /// A run of lines of a `table.el` grid: frame, its end, and whether it ends in a rule.
    grid: Option<(u32, u32, bool)>,
}

impl ElementParser {
    /// Reads the section of `text` from byte `start` to `end`, whose first line has the number `first`.
    pub(super) fn section<'a>(
        &mut self,
        text: Text<'a>,
        (start, end): (usize, usize),
        first: u32,
        output: ParseOutput<'_, 'a>,
    ) {
        self.lines.fill(text, start, end, first);
        self.lists.clear();
        self.frames.clear();
        self.frame_count = 0;
        self.next_source = 0;
        self.grid = None;
        let length = self.lines.len();
        self.open(None, length, length, None);
        self.inline = inline::may_contain(&text.bytes[start..end]);
        Walk { parser: self, text, output }.run();
    }

    fn open(&mut self, element: Option<Element>, limit: u32, resume: u32, list: Option<u32>) {
        self.frames.push(Frame { element, limit, resume, list, number: self.frame_count });
        self.frame_count = self.frame_count.wrapping_add(1);
    }
}

/// Where what is found goes.
pub(super) struct ParseOutput<'w, 'a> {
    pub(super) document: &'w mut Document,
    pub(super) sources: &'w mut Vec<PendingBlock>,
    pub(super) brackets: &'w mut Brackets<'a>,
    pub(super) tree: &'w mut Builder,
}

struct Walk<'w, 'a> {
    parser: &'w mut ElementParser,
    text: Text<'a>,
    output: ParseOutput<'w, 'a>,
}

impl<'a> Walk<'_, 'a> {
    fn run(&mut self) {
        // A planning line right under its headline is an element of its own.
        let has_planning = self.parser.lines.start(0) > 0
            && self.kind(0) == Kind::Text
            && grammar::matches(Rule::planning, &decode(self.trimmed(0)));
        if has_planning {
            self.leaf(Element::Planning, 0, 0);
        }
        let mut at = u32::from(has_planning);
        while let Some(&frame) = self.parser.frames.last() {
            if at >= frame.limit {
                self.close(frame);
                at = at.max(frame.resume);
                continue;
            }
            let in_list = frame.element == Some(Element::List);
            at = if in_list { self.item(at, frame) } else { self.element(at, frame) };
        }
    }

    /// The lines from `n` on, and before them from `first` on its affiliated keywords, are an element.
    fn leaf(&mut self, element: Element, first: u32, n: u32) {
        let lines = &self.parser.lines;
        self.output.tree.leaf(element, lines.start(first), lines.start(n));
    }

    /// What follows from line `n` on stands in `element`, whose first line `n` is; up to line `limit`.
    fn open(&mut self, element: Element, (first, n): (u32, u32), limit: u32, resume: u32) {
        let lines = &self.parser.lines;
        self.output.tree.open(element, lines.start(first), lines.start(n));
        self.parser.open(Some(element), limit, resume, None);
    }

    fn close(&mut self, frame: Frame) {
        self.parser.frames.pop();
        match frame.element {
            None => {}
            // What the blank lines after these are in is what is around them.
            Some(Element::List | Element::Item | Element::Footnote) => {
                self.output.tree.close();
                if frame.limit < frame.resume {
                    self.leaf(Element::Blank, frame.limit, frame.limit);
                }
            }
            Some(_) => {
                self.leaf(Element::End, frame.limit, frame.limit);
                self.output.tree.close();
            }
        }
    }

    fn kind(&self, n: u32) -> Kind {
        self.parser.lines.kind(n)
    }

    fn content(&self, n: u32) -> &'a [u8] {
        self.parser.lines.content(self.text, n)
    }

    /// The line from its first character that is no blank.
    fn trimmed(&self, n: u32) -> &'a [u8] {
        let content = self.content(n);
        &content[indentation(content).0..]
    }

    /// The line before `end` after which only blank lines follow, plus one; at least `first + 1`.
    fn without_blank_end(&self, first: u32, end: u32) -> u32 {
        let blank = |&n: &u32| matches!(self.kind(n), Kind::Blank | Kind::Return);
        (first + 1..end).rev().find(|n| !blank(n)).map_or(first + 1, |n| n + 1)
    }

    /// Reads the element at line `n` with the affiliated keywords before it; returns where to go on.
    fn element(&mut self, n: u32, frame: Frame) -> u32 {
        match self.kind(n) {
            Kind::Blank | Kind::Return => self.single_line(Element::Blank, n, n),
            Kind::Comment => self.single_line(Element::Comment, n, n),
            Kind::Clock => self.single_line(Element::Clock, n, n),
            Kind::Affiliated => {
                let owner =
                    (n + 1..frame.limit).find(|&n| self.kind(n) != Kind::Affiliated).unwrap_or(frame.limit);
                // What follows counts even if it stands outside; the end of the section is a blank line.
                let alone =
                    matches!(self.kind(owner), Kind::Blank | Kind::Comment | Kind::Clock | Kind::ClockStart);
                if alone || owner >= frame.limit {
                    return self.orphans(n, owner, frame.limit, alone);
                }
                self.unaffiliated(n, owner, frame)
            }
            _ => self.unaffiliated(n, n, frame),
        }
    }

    /// Affiliated keywords without an element are plain keywords.
    fn orphans(&mut self, first: u32, end: u32, limit: u32, alone: bool) -> u32 {
        for n in first..end {
            // `#+results[two words]:` is none by itself, unless the element around ends here.
            if alone && !grammar::matches(Rule::keyword, &decode(self.trimmed(n))) {
                return self.paragraph(n, n, limit);
            }
            self.keyword(n, n);
        }
        end
    }

    /// Line `n` alone is an element.
    fn single_line(&mut self, element: Element, first: u32, n: u32) -> u32 {
        self.leaf(element, first, n);
        n + 1
    }

    /// Reads the element at line `n` whose first affiliated keyword stands at line `first`.
    fn unaffiliated(&mut self, first: u32, n: u32, frame: Frame) -> u32 {
        for n in first..n {
            if self.trimmed(n).get(2..9).is_some_and(|key| key.eq_ignore_ascii_case(b"caption")) {
                self.inline(n, n + 1);
            }
        }
        let end = self.parser.lines.end_before(n, frame.limit);
        match (self.kind(n), end) {
            (Kind::Begin(block), Some(end)) if block.holds_elements() => {
                self.open(block.element(), (first, n), end, end + 1);
                n + 1
            }
            (Kind::Begin(block), Some(end)) => {
                match block {
                    Block::Src => self.source(first, n, end),
                    Block::Verse => self.inline(n + 1, end),
                    _ => {}
                }
                self.leaf(block.element(), first, n);
                self.record_unterminated(end, (block == Block::Src).then_some(n), block.element());
                end + 1
            }
            (Kind::Dynamic, Some(end)) => {
                self.open(Element::Dynamic, (first, n), end, end + 1);
                n + 1
            }
            (Kind::Drawer | Kind::DrawerEnd, Some(end)) => {
                self.open(Element::Drawer, (first, n), end, end + 1);
                n + 1
            }
            (Kind::Latex, Some(end)) => {
                self.leaf(Element::Latex, first, n);
                self.record_unterminated(end + 1, None, Element::Latex);
                end + 1
            }
            (Kind::FixedWidth, _) => self.single_line(Element::FixedWidth, first, n),
            (Kind::HorizontalRule, _) => self.single_line(Element::Rule, first, n),
            (Kind::Diary, _) => self.single_line(Element::Diary, first, n),
            (Kind::Call, _) => self.call(first, n, frame.limit),
            (Kind::Keyword | Kind::Bracketed | Kind::DynamicBare, _) => {
                self.keyword(first, n);
                n + 1
            }
            (Kind::Footnote, _) => self.footnote(first, n, frame),
            (Kind::Table, _) => {
                self.leaf(Element::Table, first, n);
                self.table(n, frame.limit)
            }
            (Kind::GridRule, _) => match self.grid_end(n, frame) {
                Some(end) => {
                    self.leaf(Element::Table, first, n);
                    self.formulas(end, frame.limit)
                }
                None => self.paragraph(first, n, frame.limit),
            },
            (Kind::Item, _) => self.list(first, n, frame),
            _ => self.paragraph(first, n, frame.limit),
        }
    }

    /// A paragraph goes on to the first line that begins something else.
    fn paragraph(&mut self, first: u32, n: u32, limit: u32) -> u32 {
        self.leaf(Element::Paragraph, first, n);
        let end = (n + 1..limit).find(|&n| self.ends_paragraph(n, limit)).unwrap_or(limit);
        self.record_unterminated(end, None, Element::Paragraph);
        self.inline(n, end);
        end
    }

    /// The lines from `n` to before `end` are text.
    fn inline(&mut self, n: u32, end: u32) {
        if self.parser.inline {
            let lines = &self.parser.lines;
            let bytes = &self.text.bytes[lines.start(n)..lines.start(end)];
            inline::scan(self.text, bytes, lines.number(n), self.output.document);
        }
    }

    fn call(&mut self, first: u32, n: u32, limit: u32) -> u32 {
        let lines = &self.parser.lines;
        let (start, number) = (lines.start(n), lines.number(first));
        let at = Position::in_line(self.content(first), number, indentation(self.content(first)).0);
        let (call, continues) = call::read(self.text, start, self.output.brackets, at);
        self.output.document.calls.push(call);
        self.leaf(Element::Call, first, n);
        let end = (n + 1 + u32::from(continues)).min(limit);
        self.record_unterminated(end, None, Element::Call);
        end
    }

    fn ends_paragraph(&self, n: u32, limit: u32) -> bool {
        match self.kind(n) {
            Kind::Text | Kind::Return | Kind::ClockStart | Kind::Bracketed => false,
            Kind::Begin(_) | Kind::Drawer | Kind::DrawerEnd | Kind::Latex => {
                self.parser.lines.end_before(n, limit).is_some()
            }
            _ => true,
        }
    }

    fn table(&mut self, n: u32, limit: u32) -> u32 {
        let end = (n + 1..limit).find(|&n| self.kind(n) != Kind::Table).unwrap_or(limit);
        self.formulas(end, limit)
    }

    /// Passes over the `#+TBLFM:` lines that belong to the table above.
    fn formulas(&self, n: u32, limit: u32) -> u32 {
        let formula =
            |n: u32| self.trimmed(n).get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"#+tblfm: "));
        (n..limit).find(|&n| !formula(n)).unwrap_or(limit)
    }

    /// Where the `table.el` table that begins at line `n` ends, if it is one: it must end in a rule too.
    fn grid_end(&mut self, n: u32, frame: Frame) -> Option<u32> {
        if n + 1 >= frame.limit {
            return None;
        }
        let (end, ruled) = match self.parser.grid {
            Some((number, end, ruled)) if number == frame.number && n < end => (end, ruled),
            _ => {
                let in_grid = |&n: &u32| matches!(self.trimmed(n).first(), Some(b'+' | b'|'));
                let end = (n + 1..frame.limit).find(|n| !in_grid(n)).unwrap_or(frame.limit);
                let ruled = self.kind(end - 1) == Kind::GridRule;
                self.parser.grid = Some((frame.number, end, ruled));
                (end, ruled)
            }
        };
        (end > n + 1 && ruled).then_some(end)
    }

    /// A footnote definition goes on to the next one, or to two blank lines.
    fn footnote(&mut self, first: u32, n: u32, frame: Frame) -> u32 {
        let two_blanks = |at: u32| {
            at + 1 < frame.limit && self.kind(at) == Kind::Blank && self.kind(at + 1) == Kind::Blank
        };
        let stop = |&at: &u32| self.kind(at) == Kind::Footnote || two_blanks(at);
        let mut end = (n + 1..frame.limit).find(stop).unwrap_or(frame.limit);
        if end < frame.limit && self.kind(end) == Kind::Footnote {
            while end > n + 1 && self.kind(end - 1) == Kind::Affiliated {
                end -= 1;
            }
        }
        let limit = self.without_blank_end(n, end);
        let text = self.content(n).iter().position(|&b| b == b']').map_or(0, |close| close + 1);
        let has_text = self.content(n)[text..].iter().any(|b| !b" \t\r".contains(b));
        self.open(Element::Footnote, (first, n), limit, end);
        if has_text { self.paragraph(n, n, limit) } else { n + 1 }
    }

    fn list(&mut self, first: u32, n: u32, frame: Frame) -> u32 {
        let parser = &mut *self.parser;
        let structure = parser.lists.structure(&mut parser.lines, n, frame.limit, frame.list, frame.number);
        let end = parser.lists.list_end(&parser.lines, n, structure).clamp(n + 1, frame.limit);
        let limit = self.without_blank_end(n, end);
        self.output.tree.open(Element::List, self.parser.lines.start(first), self.parser.lines.start(n));
        self.parser.open(Some(Element::List), limit, limit, Some(structure));
        n
    }

    fn item(&mut self, n: u32, list: Frame) -> u32 {
        let structure = list.list.unwrap_or_default();
        let end = self.parser.lists.item_end(&self.parser.lines, n, structure);
        let end = end.unwrap_or(list.limit).clamp(n + 1, list.limit);
        let limit = self.without_blank_end(n, end);
        let start = self.parser.lines.start(n);
        self.output.tree.open(Element::Item, start, start);
        self.parser.open(Some(Element::Item), limit, end, list.list);
        if line::item_has_text(&decode(self.trimmed(n))) {
            self.paragraph(n, n, limit)
        } else {
            self.inline(n, n + 1);
            n + 1
        }
    }

    /// The lines before `end` have been read as an `element`: those among them that look like the beginning
    /// of a source block, and are not `own`, are none.
    fn record_unterminated(&mut self, end: u32, own: Option<u32>, element: Element) {
        while let Some(&n) = self.parser.lines.sources.get(self.parser.next_source).filter(|&&n| n < end) {
            if Some(n) != own {
                let line = self.parser.lines.number(n);
                self.output
                    .document
                    .unterminated_blocks
                    .push(UnterminatedBlock { line, within: element.name() });
            }
            self.parser.next_source += 1;
        }
    }

    fn keyword(&mut self, first: u32, n: u32) {
        self.leaf(Element::Keyword, first, n);
        let content = self.content(n);
        let line = decode(self.trimmed(n));
        // `#+results[two words]:` has no colon in its first word; left alone it is a keyword all the same.
        let pair = grammar::read(Rule::keyword, &line).or_else(|| grammar::read(Rule::affiliated, &line));
        let Some(pair) = pair else { return };
        let key = match grammar::part(&pair, Rule::key) {
            Some(key) => key.as_str(),
            None => line[2..].split('[').next().unwrap_or_default(),
        };
        let rest = grammar::after(&line, &pair);
        let value = rest.trim_matches([' ', '\t', '\r']);
        let before = line.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
        let blanks = indentation(content).0;
        let column = to_u32(blanks) + to_u32(line[..before].chars().count()) + 1;
        let at = Position { line: self.parser.lines.number(n), column };
        let keyword = Keyword { key: key.to_uppercase(), value: value.to_owned(), at, commented: false };
        self.output.document.keywords.push(keyword);
    }

    fn source(&mut self, first: u32, begin: u32, end: u32) {
        let lines = &self.parser.lines;
        let mut source = PendingBlock::default();
        for n in first..begin {
            block_header::affiliated(&mut source, self.content(n), lines.number(n));
        }
        block_header::begin(&mut source, self.content(begin), lines.number(begin));
        source.block.first_line = lines.number(first);
        source.block.begin_line = lines.number(begin);
        source.block.end_line = lines.number(end);
        let parents = self.parser.frames.iter().filter_map(|frame| frame.element).take(MAX_WITHIN);
        source.block.within = parents.map(Element::name).collect();
        source.block.node = self.output.tree.next() as usize;
        source.body = lines.start(begin + 1)..lines.start(end);
        self.output.sources.push(source);
    }
}
