//! Inserts the files that a document names by `#+INCLUDE:` and `#+SETUPFILE:`, as Org's exporter does, and records
//! which line of which file each resulting line comes from.
//!
//! The caller reads the files: this module has no access to them.

use std::sync::Arc;

use bytes::Bytes;

use super::document::{Keyword, Position};
use super::grammar::{self, Rule};
use super::heading;
use super::include::{Include, Kind};
use super::lines::indentation;
use super::parse::parse;
use super::section;
use super::snippet::snippet;
use super::source_bytes::SourceBytes;
use super::source_map::{SourceLine, SourceLocation, SourceMap};
use super::text::{Text, decode, is_blank, to_u32};

/// A file that a document names.
#[derive(Debug, Clone)]
pub struct File {
    /// As messages call it.
    pub name: String,
    /// What it is known by: the same for the same file, by whatever way it is reached.
    pub id: String,
    /// What it holds.
    pub text: Bytes,
}

/// What cannot be put in, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    /// The line that names it.
    pub place: SourceLocation,
    /// That line with a caret.
    pub excerpt: String,
    /// What is wrong: a fragment in lower case.
    pub text: String,
    /// What to write instead: a sentence.
    pub help: String,
}

/// Reads a file: by the id of the file that names it, and the path as it stands there.
pub type Reader<'r> = dyn FnMut(&str, &str) -> Result<File, String> + 'r;

/// How many files may name each other in a row.
const MAX_DEPTH: usize = 8;
/// Bytes that the files of a document may come to: a few lines in eight files can name each other into more than
/// a machine holds.
const MAX_BYTES: usize = 64 << 20;

/// Keywords of a settings file that count for the document that names it.
const SETUP_KEYWORDS: [&str; 6] = ["PROPERTY", "RUNMODE", "BORGES_LANG", "TODO", "SEQ_TODO", "TYP_TODO"];

/// Puts in what the document `source`, which is known by `id`, names.
///
/// An Org file becomes part of the document, its headlines below the one it is named under; `src LANGUAGE` makes a
/// block of a file. Examples are left alone, and so is what stands under a COMMENT heading. Of a settings file the
/// keywords that count are put in after the line that names it.
pub fn resolve(source: &Bytes, id: &str, read: &mut Reader<'_>) -> ResolveResult<(SourceBytes, SourceMap)> {
    if !includes_files(source) {
        return Ok((source.into(), SourceMap::default()));
    }
    let count = memchr::memchr_iter(b'\n', source).count() + 1;
    let source_lines = (1..=to_u32(count)).map(|line| SourceLine { file: None, line, shift: 0 }).collect();
    let crlf = Text::new(source).crlf;
    let mut resolver = Resolver {
        read,
        files: Vec::new(),
        open_files: vec![(id.to_owned(), None)],
        crlf,
        budget: MAX_BYTES,
    };
    let whole = resolver.expand(MappedText { text: source.to_vec(), source_lines }, id)?;
    let source_map = SourceMap::new(&whole.source_lines, resolver.files);
    Ok((whole.text.into(), source_map))
}

fn includes_files(source: &[u8]) -> bool {
    memchr::memmem::find_iter(source, b"#+").any(|at| {
        let is_keyword = |key: &str| {
            source[at + 2..].get(..key.len()).is_some_and(|k| k.eq_ignore_ascii_case(key.as_bytes()))
        };
        is_keyword("include:") || is_keyword("setupfile:")
    })
}

/// Text, and where each line of it comes from.
#[derive(Default)]
struct MappedText {
    text: Vec<u8>,
    source_lines: Vec<SourceLine>,
}

struct Resolver<'r, 'f> {
    read: &'r mut Reader<'f>,
    /// Names of the files met.
    files: Vec<Arc<str>>,
    /// The files that name each other down to where we are, and which part of each was named.
    open_files: Vec<(String, Option<String>)>,
    /// Lines of the document end in CRLF.
    crlf: bool,
    budget: usize,
}

/// A keyword that names a file, and what is around it.
struct FileReference<'k> {
    keyword: &'k Keyword,
    text: &'k [u8],
    line: &'k [u8],
    source_line: SourceLine,
    /// The file it stands in.
    id: &'k str,
    /// Of the headline above.
    level: usize,
}

type ResolveResult<T> = Result<T, Box<ResolveError>>;

impl Resolver<'_, '_> {
    fn expand(&mut self, piece: MappedText, id: &str) -> ResolveResult<MappedText> {
        let document = parse(&piece.text, &[]);
        let is_reference = |keyword: &&Keyword| match keyword.key.as_str() {
            "INCLUDE" => !keyword.commented,
            key => key == "SETUPFILE",
        };
        let mut keywords = document.keywords.iter().filter(is_reference).peekable();
        if keywords.peek().is_none() {
            return Ok(piece);
        }
        let MappedText { text, source_lines } = piece;
        let mut out = MappedText::default();
        let mut level = 0;
        for ((number, line), &source_line) in
            (1..).zip(text.split_inclusive(|&b| b == b'\n')).zip(&source_lines)
        {
            level = heading::level(line).unwrap_or(level);
            let Some(keyword) = keywords.next_if(|keyword| keyword.at.line == number) else {
                out.text.extend_from_slice(line);
                out.source_lines.push(source_line);
                continue;
            };
            let reference = FileReference { keyword, text: &text, line, source_line, id, level };
            if keyword.key == "SETUPFILE" {
                self.push(&mut out, without_line_end(line), source_line);
                self.insert_setup_file(&reference, &mut out)?;
            } else {
                self.include(&reference, &mut out)?;
            }
        }
        Ok(out)
    }

    fn include(&mut self, reference: &FileReference<'_>, out: &mut MappedText) -> ResolveResult<()> {
        let value = reference.keyword.value.as_str();
        let include =
            Include::read(value).map_err(|(byte, text, help)| self.error(reference, byte, text, help))?;
        if include.kind == Kind::Text {
            self.push(out, without_line_end(reference.line), reference.source_line);
            return Ok(());
        }
        let part = format!("{:?} {:?}", include.search, include.lines);
        let part = (include.search.is_some() || include.lines.is_some()).then_some(part);
        let (file, number) = self.open_file(reference, include.path, part)?;
        let text = Text::new(&file.text);
        let lines = self.included_lines(reference, &include, text)?;
        let columns = indentation(reference.line).1;
        let indent = vec![b' '; columns];
        match &include.kind {
            Kind::Org => {
                let level = include.level.unwrap_or(reference.level + 1);
                self.spend(reference, lines.len().saturating_mul(columns.saturating_add(level)))?;
                let piece = self.adapt_org_lines(lines, number, columns, level);
                let mut piece = self.expand(piece, &file.id)?;
                out.text.append(&mut piece.text);
                out.source_lines.append(&mut piece.source_lines);
            }
            Kind::Source(..) | Kind::Block(_) => {
                let (name, arguments, at) = match &include.kind {
                    Kind::Source(arguments, at) => ("src", arguments.as_str(), *at),
                    Kind::Block(name) => (*name, "", 0),
                    Kind::Org | Kind::Text => return Ok(()),
                };
                let begin = format!("#+begin_{name} {arguments}");
                // Arguments are where they were written.
                let written_column = column(reference, at);
                let current_column = columns + begin.len() - arguments.len() + 1;
                let shift =
                    i32::try_from(current_column).unwrap_or(0) - i32::try_from(written_column).unwrap_or(0);
                let source_line =
                    SourceLine { shift: reference.source_line.shift + shift, ..reference.source_line };
                self.push(out, &[&indent, begin.trim_end().as_bytes()].concat(), source_line);
                for (line, content) in lines {
                    let source_line = SourceLine { file: Some(number), line, shift: 0 };
                    let content = if name == "src" { escape_line(content) } else { content.to_vec() };
                    self.push(out, &content, source_line);
                }
                self.push(
                    out,
                    &[&indent, format!("#+end_{name}").as_bytes()].concat(),
                    reference.source_line,
                );
            }
            Kind::Text => {}
        }
        self.open_files.pop();
        Ok(())
    }

    /// Lines of an Org file as they stand in the document: indented like the line that names it, and with
    /// headlines of the level asked for.
    fn adapt_org_lines(
        &self,
        lines: Vec<(u32, &[u8])>,
        file: u32,
        columns: usize,
        level: usize,
    ) -> MappedText {
        let mut piece = MappedText::default();
        let highest = lines.iter().filter_map(|(_, line)| heading::level(line)).min().unwrap_or(level);
        let mut indented = columns > 0;
        for (line, content) in lines {
            let mut source_line = SourceLine { file: Some(file), line, shift: 0 };
            let mut adapted = Vec::with_capacity(content.len() + columns);
            match heading::level(content) {
                Some(own) => {
                    indented = false;
                    adapted.resize(own + level - highest, b'*');
                    adapted.extend_from_slice(&content[own..]);
                    source_line.shift =
                        i32::try_from(level).unwrap_or(0) - i32::try_from(highest).unwrap_or(0);
                }
                None => {
                    if indented && !grammar::matches(Rule::footnote, &decode(content)) {
                        adapted.resize(columns, b' ');
                        source_line.shift = i32::try_from(columns).unwrap_or(0);
                    }
                    adapted.extend_from_slice(content);
                }
            }
            self.push(&mut piece, &adapted, source_line);
        }
        piece
    }

    /// The lines of a file that are meant, with their numbers; without the blank ones at either end.
    fn included_lines<'t>(
        &self,
        reference: &FileReference<'_>,
        include: &Include<'_>,
        text: Text<'t>,
    ) -> ResolveResult<Vec<(u32, &'t [u8])>> {
        let all: Vec<(u32, &[u8])> = (1..).zip(text.lines()).collect();
        let mut range = 0..all.len();
        if let Some(search) = include.search.filter(|_| include.kind == Kind::Org) {
            range = section::find(text, search, include.only_contents).ok_or_else(|| {
                let text = format!("`{}` holds nothing that is called `{search}`", include.path);
                let help = "Write `FILE::*A heading`, `FILE::#CUSTOM_ID` or `FILE::NAME`.";
                self.error(reference, 0, text, help)
            })?;
        }
        if let Some((from, to)) = include.lines {
            let blank = |&n: &usize| all.get(n).is_some_and(|(_, line)| is_empty(line));
            // In what is searched for, lines are counted from the first that says something.
            let first = if include.search.is_some() {
                range.clone().find(|n| !blank(n)).unwrap_or(range.start)
            } else {
                range.start
            };
            let start = first + from.saturating_sub(1);
            let end = match (to, &include.search) {
                (0, _) => range.end,
                (to, None) => range.start + to.saturating_sub(1),
                (to, Some(_)) => start + to.saturating_sub(1),
            };
            range = start.min(range.end)..end.min(range.end);
        }
        let mut lines = all.get(range).unwrap_or_default();
        while let [(_, first), rest @ ..] = lines
            && is_empty(first)
        {
            lines = rest;
        }
        while let [rest @ .., (_, last)] = lines
            && is_empty(last)
        {
            lines = rest;
        }
        Ok(lines.to_vec())
    }

    /// What a settings file says, on lines after the one that names it.
    fn insert_setup_file(
        &mut self,
        reference: &FileReference<'_>,
        out: &mut MappedText,
    ) -> ResolveResult<()> {
        let target = reference.keyword.value.trim_matches('"');
        if target.is_empty() {
            return Err(self.error(
                reference,
                0,
                "`#+SETUPFILE:` names no file".to_owned(),
                "Write its path.",
            ));
        }
        let (file, number) = self.open_file(reference, target, None)?;
        let blanks = indentation(reference.line).0;
        let text = Text::new(&file.text);
        let document = parse(&file.text, &[]);
        let mut lines = (1..).zip(text.lines());
        for keyword in &document.keywords {
            let Some((_, line)) = lines.find(|(number, _)| *number == keyword.at.line) else { break };
            let own = indentation(line).0;
            let shift = i32::try_from(blanks).unwrap_or(0) - i32::try_from(own).unwrap_or(0);
            let source_line = SourceLine { file: Some(number), line: keyword.at.line, shift };
            let indented = [&reference.line[..blanks], &line[own..]].concat();
            if SETUP_KEYWORDS.contains(&keyword.key.as_str()) {
                self.push(out, &indented, source_line);
            } else if keyword.key == "SETUPFILE" {
                let inner = FileReference {
                    keyword,
                    text: &file.text,
                    line,
                    source_line: SourceLine { shift: 0, ..source_line },
                    id: &file.id,
                    level: 0,
                };
                self.insert_setup_file(&inner, out)?;
            }
        }
        self.open_files.pop();
        Ok(())
    }

    /// Reads a file, and opens it.
    fn open_file(
        &mut self,
        reference: &FileReference<'_>,
        path: &str,
        part: Option<String>,
    ) -> ResolveResult<(File, u32)> {
        if path.contains("://") {
            let text = format!("`{path}` is a URL, and nothing is fetched from one");
            return Err(self.error(
                reference,
                0,
                text,
                "Save the file beside the document, and write its path here.",
            ));
        }
        let file = (self.read)(reference.id, path).map_err(|message| {
            self.error(reference, 0, message, "Its path is relative to the file that names it.")
        })?;
        let same = |(id, named): &(String, Option<String>)| *id == file.id && *named == part;
        if self.open_files.iter().any(same) {
            let text = format!("`{path}` names itself, by way of other files or none");
            return Err(self.error(reference, 0, text, "Leave out this line."));
        }
        if self.open_files.len() > MAX_DEPTH {
            let text = format!("more than {MAX_DEPTH} files name each other");
            return Err(self.error(reference, 0, text, "Put what they say into fewer files."));
        }
        self.spend(reference, file.text.len())?;
        self.open_files.push((file.id.clone(), part));
        let existing = self.files.iter().position(|name| **name == file.name);
        let number = existing.unwrap_or_else(|| {
            self.files.push(file.name.as_str().into());
            self.files.len() - 1
        });
        Ok((file, to_u32(number)))
    }

    fn spend(&mut self, reference: &FileReference<'_>, bytes: usize) -> ResolveResult<()> {
        self.budget = self.budget.saturating_sub(bytes);
        if self.budget > 0 {
            return Ok(());
        }
        let text = format!("the files of this document come to more than {} MiB", MAX_BYTES >> 20);
        Err(self.error(reference, 0, text, "Run them as documents of their own."))
    }

    fn push(&self, out: &mut MappedText, content: &[u8], source_line: SourceLine) {
        out.text.extend_from_slice(content);
        out.text.extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
        out.source_lines.push(source_line);
    }

    #[expect(clippy::unnecessary_box_returns, reason = "it is an error, and errors are boxed here")]
    fn error(
        &self,
        reference: &FileReference<'_>,
        byte: usize,
        text: String,
        help: &str,
    ) -> Box<ResolveError> {
        let SourceLine { file, line, shift } = reference.source_line;
        let position = Position { line: reference.keyword.at.line, column: column(reference, byte) };
        let column = u32::try_from(i64::from(position.column) - i64::from(shift)).unwrap_or(1);
        let file = file.and_then(|file| self.files.get(file as usize)).cloned();
        let place = SourceLocation { file, at: Position { line, column } };
        Box::new(ResolveError {
            place,
            excerpt: snippet(reference.text, position),
            text,
            help: help.to_owned(),
        })
    }
}

/// The column of a byte of the keyword's value, in the text that is read.
fn column(FileReference { keyword: Keyword { value, at, .. }, .. }: &FileReference<'_>, byte: usize) -> u32 {
    at.column + to_u32(value.get(..byte).map_or(0, |before| before.chars().count()))
}

fn is_empty(line: &[u8]) -> bool {
    line.iter().all(|&b| is_blank(b) || b == b'\r')
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// With a comma where the line would end a block or begin a headline.
fn escape_line(line: &[u8]) -> Vec<u8> {
    let blanks = indentation(line).0;
    let commas = line[blanks..].iter().take_while(|&&b| b == b',').count();
    let rest = &line[blanks + commas..];
    let comma: &[u8] = if rest.starts_with(b"*") || rest.starts_with(b"#+") { b"," } else { b"" };
    [&line[..blanks], comma, &line[blanks..]].concat()
}

#[cfg(test)]
mod tests;
