//! Parses a document: splits it into sections at the headlines, parses each section, and then completes the blocks
//! with their inherited header arguments.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use memchr::memmem;

use super::block_header::PendingBlock;
use super::body;
use super::brackets::Brackets;
use super::document::{Call, Context, Document, HeaderArgsProperty, Keyword, Origin, Position};
use super::element_parser::{ElementParser, ParseOutput};
use super::header_args::{self, HeaderText};
use super::heading;
use super::inherit::{Arguments, Inheritance};
use super::inline;
use super::outline::{Outline, Scope};
use super::source_bytes::SourceBytes;
use super::text::{Text, to_u32};
use super::tree::{Builder, Element};

/// Reads an Org document.
///
/// It never fails: what is no block is text. `setup` holds the `header-args` properties of the setupfile,
/// which the document's own override.
pub fn parse(source: impl Into<SourceBytes>, setup: &[HeaderArgsProperty]) -> Document {
    let SourceBytes(source) = source.into();
    let text = Text::new(&source);
    let mut tree = Builder::new(text.mark);
    let mut document = Document::default();
    let mut sources = Vec::new();
    // Keywords under headlines that say something, and the scopes of those.
    let mut scoped_keywords = Vec::new();
    let mut scope_ends = Vec::new();
    let mut outline = Outline::new(text);
    let mut parser = ElementParser::default();
    let inline = inline::may_contain(text.bytes);
    let mut brackets = Brackets::new(text.bytes);
    let mut number = 1;
    let mut start = 0;
    let mut headline = heading::level(text.bytes).map(|_| 0);
    let candidates = memmem::Finder::new(b"\n*");
    let mut candidates = candidates
        .find_iter(text.bytes)
        .map(|n| n + 1)
        .filter(|&n| heading::level(&text.bytes[n..]).is_some());
    if headline.is_none() {
        headline = candidates.next();
    }
    loop {
        let end = headline.unwrap_or(text.bytes.len());
        let section = &text.bytes[start..end];
        // Without `#+` there is neither block nor keyword, and little else is asked for.
        if memmem::find(section, b"#+").is_some() || inline && inline::may_contain(section) {
            let (first_source, keywords) = (sources.len(), document.keywords.len());
            let output = ParseOutput {
                document: &mut document,
                sources: &mut sources,
                brackets: &mut brackets,
                tree: &mut tree,
            };
            parser.section(text, (start, end), number, output);
            for source in &mut sources[first_source..] {
                source.scope = outline.scope();
            }
            if keywords < document.keywords.len() && outline.scope() > 0 {
                scoped_keywords.push((keywords..document.keywords.len(), outline.scope()));
            }
            scope_ends.push(ScopeEnd::of(&document, outline.scope()));
        } else if start < end {
            tree.leaf(Element::Plain, start, start);
        }
        number += to_u32(memchr::memchr_iter(b'\n', section).count());
        let Some(at) = headline else { break };
        tree.headline(outline.enter(text, at, number), at);
        start = text.line(at).1;
        if inline {
            inline::scan(text, &text.bytes[at..start], number, &mut document);
            scope_ends.push(ScopeEnd::of(&document, outline.scope()));
        }
        number += 1;
        headline = candidates.next();
    }
    outline.resolve_scopes(&todo_keywords(&document.keywords));
    let scopes = outline.scopes;
    for (keywords, scope) in scoped_keywords {
        for keyword in &mut document.keywords[keywords] {
            keyword.commented = scopes[scope].commented;
        }
    }
    let mut inheritance = Inheritance::new(&scopes, &document, setup, text.bytes.len());
    let blocks =
        sources.into_iter().map(|pending| finish_block(pending, &source, text, &scopes, &mut inheritance));
    document.blocks = blocks.collect();
    set_contexts(&mut document, &scope_ends, &scopes, &mut inheritance);
    document.tree = tree.finish(source);
    document
}

/// How many calls, and how much code within text, a text holds up to the end of a part of it, whose scope is known.
struct ScopeEnd {
    calls: usize,
    inline_calls: usize,
    inline_blocks: usize,
    scope: usize,
}

impl ScopeEnd {
    fn of(document: &Document, scope: usize) -> Self {
        Self {
            calls: document.calls.len(),
            inline_calls: document.inline_calls.len(),
            inline_blocks: document.inline_blocks.len(),
            scope,
        }
    }
}

/// Says what holds where calls and code within text stand.
fn set_contexts(
    document: &mut Document,
    scope_ends: &[ScopeEnd],
    scopes: &[Scope],
    inheritance: &mut Inheritance<'_>,
) {
    let Document { blocks, calls, inline_calls, inline_blocks, .. } = document;
    let mut languages: HashMap<&str, &str> = HashMap::new();
    for block in blocks.iter() {
        if let (Some(name), Some(language)) = (block.name.as_deref(), block.language.as_deref()) {
            languages.entry(name).or_insert(language);
        }
    }
    let mut context = |scope: usize, language: Option<&str>, at: Position| {
        let inherited = inheritance.arguments(scope, language, at, || Ok(Vec::new()), None);
        let (commented, archived) =
            scopes.get(scope).map_or((false, false), |scope| (scope.commented, scope.archived));
        // What cannot be read is an error of the blocks that inherit it.
        let inherited = inherited.map(|arguments| arguments.inherited).unwrap_or_default();
        Context { commented, archived, inherited }
    };
    let language = |call: &Call| call.name.as_deref().and_then(|name| languages.get(name)).copied();
    let (mut call, mut inline_call, mut inline_block) = (0, 0, 0);
    for scope_end in scope_ends {
        for call in &mut calls[call..scope_end.calls] {
            call.context = context(scope_end.scope, language(call), call.at);
        }
        for call in &mut inline_calls[inline_call..scope_end.inline_calls] {
            call.context = context(scope_end.scope, language(call), call.at);
        }
        for block in &mut inline_blocks[inline_block..scope_end.inline_blocks] {
            block.context = context(scope_end.scope, Some(&block.language), block.at);
        }
        (call, inline_call, inline_block) =
            (scope_end.calls, scope_end.inline_calls, scope_end.inline_blocks);
    }
}

/// The words that may stand before a headline's title.
pub(super) fn todo_keywords(keywords: &[Keyword]) -> Vec<String> {
    let lines = keywords.iter().filter(|k| matches!(k.key.as_str(), "TODO" | "SEQ_TODO" | "TYP_TODO"));
    let words = lines.flat_map(|keyword| keyword.value.split_whitespace()).filter(|&word| word != "|");
    // `WAIT(w@/!)`: a key to type and what to log, in brackets.
    let without_settings = |word: &str| match word.find('(').filter(|_| word.ends_with(')')) {
        Some(open) => word[..open].to_owned(),
        None => word.to_owned(),
    };
    let mut words: Vec<String> = words.map(without_settings).collect();
    if words.is_empty() {
        words = vec!["TODO".into(), "DONE".into()];
    }
    words
}

/// Reads a block's header arguments and body.
fn finish_block(
    pending: PendingBlock,
    source: &Bytes,
    text: Text<'_>,
    scopes: &[Scope],
    inheritance: &mut Inheritance<'_>,
) -> super::Block {
    let mut block = pending.block;
    if let Some(scope) = scopes.get(pending.scope) {
        block.commented = scope.commented;
        block.archived = scope.archived;
    }
    let position = Position { line: block.begin_line, column: 0 };
    let own = block
        .parameters
        .iter()
        .zip([pending.parameters_at])
        .chain(block.headers.iter().zip(pending.headers_at));
    let parse_own = || {
        let mut params = Vec::new();
        for (text, at) in own {
            params.extend(header_args::parse(&HeaderText::new(text, at, Origin::Block))?);
        }
        Ok(params)
    };
    let arguments = inheritance.arguments(
        pending.scope,
        block.language.as_deref(),
        position,
        parse_own,
        block.name.as_deref(),
    );
    let body = body::unescape(&text.bytes[pending.body], text.crlf);
    match arguments {
        Ok(Arguments { params, inherited }) => {
            block.params = params;
            block.inherited = inherited;
            let keep = block.switches.as_deref().is_some_and(keeps_indentation);
            block.body = match body {
                Cow::Borrowed(body) => to_bytes(source, body::normalize(body, keep)),
                Cow::Owned(body) => body::normalize(&body, keep).into_owned().into(),
            };
        }
        Err(error) => {
            block.error = Some(error);
            // As Emacs leaves it when it gives up.
            block.body = to_bytes(source, body);
        }
    }
    block
}

/// A piece of `whole`, or what has become of one.
fn to_bytes(source: &Bytes, piece: Cow<'_, [u8]>) -> Bytes {
    match piece {
        Cow::Borrowed(piece) => source.slice_ref(piece),
        Cow::Owned(piece) => piece.into(),
    }
}

/// Whether `-i` is among the switches.
fn keeps_indentation(switches: &str) -> bool {
    let bytes = switches.as_bytes();
    let is_switch = |n: usize| {
        bytes[n..].get(..2).is_some_and(|s| s.eq_ignore_ascii_case(b"-i"))
            && !bytes.get(n + 2).is_some_and(|&b| b.is_ascii_alphanumeric())
    };
    (0..bytes.len()).any(is_switch)
}
