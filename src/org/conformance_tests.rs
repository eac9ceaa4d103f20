//! Small documents and what Emacs (Org 9.8.9) reads in them; and the property that no input makes the parser panic or
//! return a position outside the text.
//!
//! Each file `cases/NAME.md` is a case: a title, a note, and a document. `cases/NAME.snap` is what the parser makes of
//! it. In a document `→` stands for a tab, `␍` for a carriage return, `⍽` for a no-break space, `␟` for a byte order
//! mark, `␀` for NUL, and `␦` for the byte FF.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::document::{Block, Document, Origin, Value};
use super::{HeaderArgsProperty, Position, parse};

/// The document of a case, its marks replaced by what they stand for.
fn case_document(case: &str) -> Vec<u8> {
    let (_, rest) = case.split_once("````org\n").unwrap();
    let (document, _) = rest.split_once("````").unwrap();
    let marks = [('→', "\t"), ('␍', "\r"), ('⍽', "\u{a0}"), ('␟', "\u{feff}"), ('␀', "\0")];
    let text = marks.iter().fold(document.to_owned(), |text, &(mark, real)| text.replace(mark, real));
    let parts = text.split('␦').map(str::as_bytes).collect::<Vec<_>>();
    parts.join(&0xff)
}

fn show(document: &Document) -> String {
    let mut out = String::new();
    for block in &document.blocks {
        show_block(block, &mut out);
    }
    for unterminated in &document.unterminated_blocks {
        let _ = writeln!(out, "look-alike {} in {}", unterminated.line, unterminated.within);
    }
    for keyword in &document.keywords {
        let Position { line, column } = keyword.at;
        let _ = writeln!(out, "keyword {line}:{column} {} {:?}", keyword.key, keyword.value);
    }
    out
}

fn show_block(block: &Block, out: &mut String) {
    let Block { first_line, begin_line, end_line, .. } = block;
    let _ = write!(out, "block {first_line} {begin_line} {end_line}");
    let fields = [("language", &block.language), ("name", &block.name), ("switches", &block.switches)];
    for (field, value) in fields.into_iter().filter_map(|(field, value)| value.as_ref().map(|v| (field, v))) {
        let _ = write!(out, " {field}={value:?}");
    }
    for element in &block.within {
        let _ = write!(out, " in {element}");
    }
    out.push_str(if block.commented { " commented" } else { "" });
    out.push_str(if block.archived { " archived" } else { "" });
    out.push('\n');
    for param in block.params.iter() {
        let value = match &param.value {
            Value::None => String::new(),
            Value::Integer(n) => format!(" {n}"),
            Value::Float(x) => format!(" {x:?}"),
            Value::Text(text) => format!(" {text:?}"),
        };
        let inherited = match param.origin {
            Origin::Block => "",
            Origin::Document => "^",
            Origin::Setup => "setup ",
        };
        let Position { line, column } = param.at;
        let _ = writeln!(out, "  {}{value} {inherited}{line}:{column}", param.key);
    }
    if let Some((at, why)) = &block.error {
        let _ = writeln!(out, "  error {}:{} {why}", at.line, at.column);
    }
    let _ = writeln!(out, "  body \"{}\"", block.body.escape_ascii());
}

#[expect(clippy::disallowed_methods, reason = "the cases are files")]
fn read_case(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[rstest::rstest]
fn documents_are_read_as_by_emacs(#[files("cases/*.md")] path: PathBuf) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let document = case_document(&read_case(&path));
    insta::with_settings!({ snapshot_path => "cases", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, show(&parse(document, &[])));
    });
}

#[test]
fn document_properties_override_the_setupfile() {
    let property = |language: Option<&str>, value: &str, line| HeaderArgsProperty {
        language: language.map(str::to_owned),
        value: value.to_owned(),
        at: Position { line, column: 30 },
    };
    let setup = [property(None, ":cpu 1 :mem 1 :dir /a", 1), property(Some("sh"), ":mem 2", 2)];
    let source =
        b"#+PROPERTY: header-args :cpu 3\n#+begin_src sh :dir /b\n#+end_src\n#+begin_src c\n#+end_src\n";
    insta::assert_snapshot!(show(&parse(source, &setup)), @r#"
    block 2 2 3 language="sh"
      :dir "/b" 2:16
      :cpu 3 ^1:25
      :mem 2 setup 2:30
      body ""
    block 4 4 5 language="c"
      :cpu 3 ^1:25
      :dir "/a" setup 1:44
      :mem 1 setup 1:37
      body ""
    keyword 1:13 PROPERTY "header-args :cpu 3"
    "#);
    assert_eq!(parse(source, &setup).blocks[0].inherited.len(), 5);
}

#[test]
fn errors_in_the_setupfile_name_it() {
    let property =
        HeaderArgsProperty { language: None, value: " :".into(), at: Position { line: 7, column: 3 } };
    let document = parse(b"#+begin_src sh\n  a\n#+end_src\n", &[property]);
    let (at, why) = document.blocks[0].error.clone().unwrap();
    assert_eq!(at.line, 7);
    assert!(why.starts_with("in the setupfile: "), "{why}");
}

#[test]
fn copies_of_inherited_arguments_are_limited() {
    let mut source = b"#+PROPERTY: header-args ".to_vec();
    source.extend_from_slice(&b":a 1 ".repeat(10_000));
    source.extend_from_slice(b"\n");
    let blocks = |line: &[u8]| [&source[..], &line.repeat(1000)].concat();
    let document = parse(blocks(b"#+begin_src sh :b 1\n#+end_src\n"), &[]);
    assert!(document.blocks[0].error.is_none());
    let (at, _) = document.blocks[999].error.clone().unwrap();
    assert_eq!(at.line, document.blocks[999].begin_line);
    // Those that say nothing of their own share them.
    let document = parse(blocks(b"#+begin_src sh\n#+end_src\n"), &[]);
    assert!(document.blocks.iter().all(|block| block.error.is_none() && block.inherited.len() == 10_000));
}

mod properties {
    use proptest::prelude::*;

    use super::super::{Document, Element, Node, Position, parse, report, snippet};

    /// Lines of Org, and pieces of lines.
    const FRAGMENTS: &[&str] = &[
        "#+begin_src",
        "#+BEGIN_SRC sh",
        "#+end_src",
        "#+begin_quote",
        "#+end_quote",
        "#+begin_example",
        "#+end_example",
        "#+begin_a*b",
        "#+end_a*b",
        "#+begin: x",
        "#+end:",
        "#+end",
        "#+name: n",
        "<<n>>",
        "<<n()",
        "<<",
        ">>",
        " :noweb yes",
        " :noweb-ref n",
        "(ref:n)",
        "src_a{",
        "call_b[c](",
        "}",
        "]",
        "~",
        "{{{m",
        "$",
        "[[",
        "#+call: n(",
        ":CUSTOM_ID: n",
        "#+header: ",
        "#+results[a b]:",
        "#+caption[",
        "#+PROPERTY: header-args ",
        "#+PROPERTY: header-args+ ",
        "#+todo: A | B",
        "* ",
        "** COMMENT x",
        "***",
        "* a :ARCHIVE:",
        ":PROPERTIES:",
        ":header-args: ",
        ":header-args:sh+: ",
        ":END:",
        ":d:",
        "- ",
        "1. ",
        "- [ ] ",
        "- t :: ",
        " *",
        "[fn:1] ",
        "\\begin{a}",
        "\\end{a}",
        "| ",
        "+-+",
        "# ",
        ": ",
        "-----",
        "CLOCK: ",
        "SCHEDULED: ",
        ":var a=1",
        ":var x",
        ":results a b",
        ":results",
        ":a \"x",
        ":b (",
        ")]",
        "\"",
        "\\",
        ":",
        " :",
        "=",
        " -n 5",
        " -i",
        " -l \"",
        ",*",
        ",#+",
        "\t",
        "    ",
        " ",
        "\r",
        "\u{a0}",
        "é",
        "x",
        "\0",
        "nil",
        ":file-ext a :output-dir b",
        "\u{feff}",
    ];

    fn assert_consistent(source: &[u8]) {
        let document = parse(source, &[]);
        let lines = u32::try_from(source.split(|&b| b == b'\n').count()).unwrap();
        let mut last = 0;
        let widest = source.split(|&b| b == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        let assert_inside = |at: Position| {
            assert!((1..=lines).contains(&at.line), "{at:?} of {lines}");
            assert!(at.column as usize <= widest + 1, "{at:?}");
            assert!(
                !snippet(source, at).is_empty() || widest == 0 || at.column == 0 || {
                    source.split(|&b| b == b'\n').nth(at.line as usize - 1).is_some()
                }
            );
        };
        for block in &document.blocks {
            assert!(last < block.first_line && block.first_line <= block.begin_line);
            assert!(block.begin_line < block.end_line && block.end_line <= lines);
            last = block.end_line;
            assert!(block.params.iter().chain(block.inherited.iter()).all(|p| !p.key.is_empty()));
            block.params.iter().chain(block.inherited.iter()).for_each(|param| assert_inside(param.at));
            assert!(block.error.is_none() || block.params.is_empty());
        }
        document.keywords.iter().for_each(|keyword| assert_inside(keyword.at));
        assert_tree_is_the_text(source, &document);
        assert!(document.unterminated_blocks.iter().all(|l| (1..=lines).contains(&l.line)));
        assert_eq!(
            report("x", source, &document)["blocks"].as_array().map(Vec::len),
            Some(document.blocks.len())
        );
    }

    /// The tree is the text: its pieces, and nothing else of the document, give every byte back; and a block's piece is
    /// the block's lines.
    fn assert_tree_is_the_text(source: &[u8], document: &Document) {
        let Document { tree, blocks, .. } = document;
        assert_eq!(tree.print(), source);
        let pieces: Vec<Vec<u8>> = {
            // What was read is gone, and so is the tree, before the pieces are put together.
            let tree = parse(source.to_vec(), &[]).tree;
            (0..tree.nodes().len()).map(|node| tree.own_text(node).to_vec()).collect()
        };
        assert_eq!(pieces.concat(), source);
        let mut from = 0;
        for node in 0..tree.nodes().len() {
            let subtree = tree.subtree(node);
            assert!(subtree.start < subtree.end && subtree.end <= tree.nodes().len());
            let parent = tree.parent(node).map(|parent| tree.subtree(parent));
            assert!(parent.is_none_or(|parent| parent.start < node && subtree.end <= parent.end), "{node}");
            assert!(tree.own_text(node).starts_with(tree.affiliated(node)));
            from += tree.own_text(node).len();
        }
        assert_eq!(from, source.len());
        let is_source = |node: &Node| node.element == Element::Source;
        assert_eq!(tree.nodes().iter().filter(|node| is_source(node)).count(), blocks.len());
        let lines: Vec<&[u8]> = source.split_inclusive(|&b| b == b'\n').collect();
        for block in blocks {
            assert!(is_source(&tree.nodes()[block.node]));
            let mut own = lines[block.first_line as usize - 1..block.end_line as usize].concat();
            if block.first_line == 1 && source.starts_with(b"\xef\xbb\xbf") {
                own.drain(..3);
            }
            assert_eq!(tree.own_text(block.node), own);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_can_be_parsed(source in prop::collection::vec(any::<u8>(), 0..300)) {
            assert_consistent(&source);
        }

        #[test]
        fn any_lines_can_be_parsed(
            pieces in prop::collection::vec((prop::sample::select(FRAGMENTS), 0..3u8), 0..120),
            crlf in any::<bool>(),
        ) {
            let mut source = Vec::new();
            for (piece, end) in pieces {
                source.extend_from_slice(piece.as_bytes());
                let line_end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
                if end < 2 {
                    source.extend_from_slice(line_end);
                }
            }
            assert_consistent(&source);
        }
    }
}
