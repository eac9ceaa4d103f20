//! The element tree of a document: its elements in order, each with its own piece of the text.
//!
//! The pieces are slices of one shared buffer. Every byte is in exactly one piece, so that printing all pieces gives
//! the source back, and an edit of one element changes no other byte.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::text::to_u32;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// A byte order mark.
    ByteOrderMark,
    /// A headline; it holds all that is under it.
    Headline,
    /// The planning line under a headline.
    Planning,
    /// Lines between two headlines that are not looked at, for nothing that is asked for can stand in them.
    Plain,
    /// Blank lines.
    Blank,
    /// Comment lines.
    Comment,
    /// A clock line.
    Clock,
    /// A keyword that belongs to no other element.
    Keyword,
    /// `#+call:`
    Call,
    /// Text; in an item or a footnote it begins with the bullet or the label.
    Paragraph,
    /// A source block.
    Source,
    /// `#+begin_example`
    Example,
    /// `#+begin_export`
    Export,
    /// `#+begin_comment`
    CommentBlock,
    /// `#+begin_verse`
    Verse,
    /// `#+begin_quote`
    Quote,
    /// `#+begin_center`
    Center,
    /// A block of another name.
    Special,
    /// `#+begin: NAME`
    Dynamic,
    /// A drawer, one of properties too.
    Drawer,
    /// The last line of what holds other elements.
    End,
    /// A LaTeX environment.
    Latex,
    /// Lines `: …`
    FixedWidth,
    /// A horizontal rule.
    Rule,
    /// A diary line.
    Diary,
    /// A table, its formulas included.
    Table,
    /// A footnote definition.
    Footnote,
    /// A plain list; it holds items.
    List,
    /// An item of a list.
    Item,
}

impl Element {
    /// As Emacs names it; what it has no name for is of no type to it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteOrderMark | Self::Blank | Self::End => "",
            Self::Headline => "headline",
            Self::Planning => "planning",
            Self::Plain => "section",
            Self::Comment => "comment",
            Self::Clock => "clock",
            Self::Keyword => "keyword",
            Self::Call => "babel-call",
            Self::Paragraph => "paragraph",
            Self::Source => "src-block",
            Self::Example => "example-block",
            Self::Export => "export-block",
            Self::CommentBlock => "comment-block",
            Self::Verse => "verse-block",
            Self::Quote => "quote-block",
            Self::Center => "center-block",
            Self::Special => "special-block",
            Self::Dynamic => "dynamic-block",
            Self::Drawer => "drawer",
            Self::Latex => "latex-environment",
            Self::FixedWidth => "fixed-width",
            Self::Rule => "horizontal-rule",
            Self::Diary => "diary-sexp",
            Self::Table => "table",
            Self::Footnote => "footnote-definition",
            Self::List => "plain-list",
            Self::Item => "item",
        }
    }

    /// Whether lines of it that follow each other are one element.
    fn joins_lines(self) -> bool {
        matches!(self, Self::Blank | Self::Comment | Self::FixedWidth)
    }
}

/// An element of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub element: Element,
    /// Where it begins.
    start: u32,
    /// Where it goes on after its affiliated keywords.
    content_start: u32,
    /// The first element that it does not hold.
    subtree_end: u32,
    /// The element that holds it.
    parent: u32,
}

/// No element.
const NONE: u32 = u32::MAX;

/// The elements of a document, in document order: each before those it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    text: Bytes,
    nodes: Vec<Node>,
}

/// What is written in the place of an element, or after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// In its place, and in that of all it holds; edits of those go with them.
    Replace(Vec<u8>),
    /// After it, and after all it holds.
    InsertAfter(Vec<u8>),
}

impl Tree {
    /// The elements, numbered from 0.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What is the element's own: its affiliated keywords, and its lines without those of the elements in it.
    pub fn own_text(&self, node: usize) -> &[u8] {
        self.text.get(self.start(node)..self.start(node + 1)).unwrap_or_default()
    }

    /// The affiliated keywords of an element; its own lines go on after them.
    pub fn affiliated(&self, node: usize) -> &[u8] {
        let Some(Node { start, content_start, .. }) = self.nodes.get(node) else { return &[] };
        self.text.get(*start as usize..*content_start as usize).unwrap_or_default()
    }

    /// Where the element goes on after its affiliated keywords.
    pub(super) fn content_start(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(self.text.len(), |node| node.content_start as usize)
    }

    /// The bytes of the element and all that it holds.
    pub fn span(&self, node: usize) -> Range<usize> {
        self.start(node)..self.start(self.subtree(node).end)
    }

    /// The numbers of the element and all that it holds.
    pub fn subtree(&self, node: usize) -> Range<usize> {
        let subtree_end = self.nodes.get(node).map_or(node, |node| node.subtree_end as usize);
        node..subtree_end
    }

    /// The elements that `node` holds itself; of `None`, those that none holds.
    pub fn children(&self, node: Option<usize>) -> impl Iterator<Item = usize> {
        let end = node.map_or(self.nodes.len(), |node| self.subtree(node).end);
        let mut next = node.map_or(0, |node| node + 1);
        std::iter::from_fn(move || {
            let child = Some(next).filter(|&child| child < end)?;
            next = self.subtree(child).end;
            Some(child)
        })
    }

    /// The element that holds `node`.
    pub fn parent(&self, node: usize) -> Option<usize> {
        self.nodes
            .get(node)
            .map(|node| node.parent)
            .filter(|&parent| parent != NONE)
            .map(|parent| parent as usize)
    }

    /// The element that follows `node` and all it holds, blank lines left out, in the same element.
    pub fn next(&self, node: usize) -> Option<usize> {
        let parent = self.parent(node);
        let mut next = self.subtree(node).end;
        while self.nodes.get(next)?.element == Element::Blank {
            next += 1;
        }
        (self.parent(next) == parent && self.nodes.get(next)?.element != Element::End).then_some(next)
    }

    /// The document, printed: the own text of each element, one after another.
    pub fn print(&self) -> Vec<u8> {
        self.apply_edits(&BTreeMap::new())
    }

    /// The document with `edits`, by the number of the element; every other byte is as it was read.
    pub(crate) fn apply_edits(&self, edits: &BTreeMap<usize, Edit>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        // What is still to be written after elements that are open, by where they end: the innermost last.
        let mut open: Vec<(usize, &[u8])> = Vec::new();
        let mut node = 0;
        loop {
            while let Some((_, text)) = open.pop_if(|(end, _)| *end <= node) {
                out.extend_from_slice(text);
            }
            if node >= self.nodes.len() {
                return out;
            }
            match edits.get(&node) {
                Some(Edit::Replace(text)) => {
                    out.extend_from_slice(text);
                    node = self.subtree(node).end;
                    continue;
                }
                Some(Edit::InsertAfter(text)) => open.push((self.subtree(node).end, text)),
                None => {}
            }
            out.extend_from_slice(self.own_text(node));
            node += 1;
        }
    }

    /// Where the own text of the element begins.
    fn start(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(self.text.len(), |node| node.start as usize)
    }
}

/// Elements as they are met.
#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    /// Elements that hold others, and have not ended.
    open: Vec<u32>,
    /// Headlines that have not ended, with their levels; they are not among `open`.
    headlines: Vec<(usize, u32)>,
    /// Bytes before what offsets are counted from.
    mark: u32,
}

impl Builder {
    /// For a text before which `mark` bytes stand.
    pub(super) fn new(mark: usize) -> Self {
        let mut builder = Self { nodes: Vec::new(), open: Vec::new(), headlines: Vec::new(), mark: 0 };
        if mark > 0 {
            builder.leaf(Element::ByteOrderMark, 0, 0);
        }
        builder.mark = to_u32(mark);
        builder
    }

    /// The number of the next element.
    pub(super) fn next(&self) -> u32 {
        to_u32(self.nodes.len())
    }

    /// An element that holds no other; it begins at `start`, after its affiliated keywords at `content_start`.
    pub(super) fn leaf(&mut self, element: Element, start: usize, content_start: usize) {
        let parent =
            self.open.last().copied().or(self.headlines.last().map(|&(_, number)| number)).unwrap_or(NONE);
        let joins_lines =
            |last: &Node| last.element == element && last.parent == parent && element.joins_lines();
        if start == content_start && self.nodes.last().is_some_and(joins_lines) {
            return;
        }
        let (start, content_start) = (to_u32(start) + self.mark, to_u32(content_start) + self.mark);
        self.nodes.push(Node { element, start, content_start, subtree_end: self.next() + 1, parent });
    }

    /// An element that holds others, until [`Builder::close`].
    pub(super) fn open(&mut self, element: Element, start: usize, content_start: usize) {
        let number = self.next();
        self.leaf(element, start, content_start);
        self.open.push(number);
    }

    /// The innermost element that is open ends before the next one.
    pub(super) fn close(&mut self) {
        let next = self.next();
        if let Some(node) = self.open.pop().and_then(|number| self.nodes.get_mut(number as usize)) {
            node.subtree_end = next;
        }
    }

    /// A headline of a level.
    pub(super) fn headline(&mut self, level: usize, start: usize) {
        self.end_headlines(level);
        let number = self.next();
        self.leaf(Element::Headline, start, start);
        self.headlines.push((level, number));
    }

    fn end_headlines(&mut self, level: usize) {
        let next = self.next();
        while let Some((_, number)) = self.headlines.pop_if(|(other, _)| level <= *other) {
            if let Some(node) = self.nodes.get_mut(number as usize) {
                node.subtree_end = next;
            }
        }
    }

    /// The elements of `text`, the mark included.
    pub(super) fn finish(mut self, text: Bytes) -> Tree {
        self.end_headlines(0);
        // What lies beyond the text that is read belongs to the last element.
        if self.nodes.is_empty() && !text.is_empty() {
            self.leaf(Element::Plain, 0, 0);
        }
        Tree { text, nodes: self.nodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    /// Each element with what it is in, and its own text.
    fn print_elements(source: &str) -> String {
        let tree = parse(source.as_bytes(), &[]).tree;
        let mut out = String::new();
        for (n, node) in tree.nodes().iter().enumerate() {
            let depth = std::iter::successors(tree.parent(n), |&parent| tree.parent(parent)).count();
            let own = tree.own_text(n).escape_ascii();
            out += &format!("{}{:?} \"{own}\"\n", "  ".repeat(depth), node.element);
        }
        out
    }

    #[test]
    fn elements_are_nested() {
        let source = "\u{feff}#+title: x\n\n\n# a\n# b\ntext\nmore\n* one\nplain\n** two\nSCHEDULED: x\n:PROPERTIES:\n:a: b\n:END:\n\
                      - item\n  : fixed\n\n  : more\n\n\n#+name: q\n#+begin_quote\n#+name: b\n#+begin_src sh\n,* x\n#+end_src\n\n\
                      #+results: b\n| 1 |\n#+tblfm: x\n#+end_quote\n* three\n#+call: x()\n-----\n[fn:1] note\n#+orphan: x\n\r";
        insta::assert_snapshot!(print_elements(source));
    }

    #[test]
    fn an_edit_changes_no_other_byte() {
        let source =
            b"a\r\n#+begin_quote\n#+begin_src sh\nb\xff\n#+end_src\n\n: 1\n#+end_quote\n\0* h\n* i\nno end";
        let document = parse(source, &[]);
        let block = document.blocks[0].node;
        let edited = |node: usize, edit: Edit| {
            String::from_utf8_lossy(&document.tree.apply_edits(&BTreeMap::from([(node, edit)]))).into_owned()
        };
        let text = String::from_utf8_lossy(source);
        let end = "#+end_src\n";
        assert_eq!(
            edited(block, Edit::InsertAfter(b"X\n".to_vec())),
            text.replace(end, &format!("{end}X\n"))
        );
        let next = document.tree.next(block).unwrap();
        assert_eq!(edited(next, Edit::Replace(b": 2\n".to_vec())), text.replace(": 1", ": 2"));
        let quote = document.tree.parent(block).unwrap();
        assert_eq!(edited(quote, Edit::Replace(Vec::new())), "a\r\n\0* h\n* i\nno end");
        assert_eq!(edited(quote, Edit::InsertAfter(b"X".to_vec())), text.replace("quote\n\0", "quote\nX\0"));
        let last = document.tree.children(None).last().unwrap();
        assert_eq!(edited(last, Edit::InsertAfter(b"X".to_vec())), format!("{text}X"));
        assert_eq!(document.tree.next(next), None);
    }
}
