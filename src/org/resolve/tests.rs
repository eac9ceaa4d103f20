//! Tests of documents that include files.

use std::collections::HashMap;

use super::*;

/// The document `doc.org` of these files with the others put in: each line with where it comes from; or what is
/// wrong.
fn resolve_files(files: &[(&str, &str)]) -> String {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let mut read = |_: &str, path: &str| {
        let text = files.get(path).ok_or_else(|| format!("`{path}` cannot be read"))?;
        Ok(File { name: path.to_owned(), id: path.to_owned(), text: Bytes::from(text.as_bytes().to_vec()) })
    };
    match resolve(&Bytes::from(files["doc.org"].as_bytes().to_vec()), "doc.org", &mut read) {
        Ok((text, source_map)) => (1..)
            .zip(text.0.split(|&b| b == b'\n'))
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| {
                let SourceLocation { file, at } = source_map.locate(Position { line: number, column: 1 + 9 });
                let file = file.as_deref().unwrap_or("doc");
                format!("{file}:{}:{} {}\n", at.line, at.column, line.escape_ascii())
            })
            .collect(),
        Err(error) => {
            let ResolveError { place: SourceLocation { file, at }, excerpt, text, help } = *error;
            let file = file.as_deref().unwrap_or("doc");
            format!("{file}:{}:{}: {text}\n{excerpt}\n  {help}\n", at.line, at.column)
        }
    }
}

#[test]
fn an_included_org_file_becomes_part_of_the_document() {
    insta::assert_snapshot!(resolve_files(&[
        ("doc.org", "* a\n#+INCLUDE: \"b.org\"\n** c\n  #+include: b.org :minlevel 5\nend\n"),
        ("b.org", "\n\ntext\n[fn:1] x\n** d\n*** e\n#+include: c.org\n\n"),
        ("c.org", "* deep\n"),
    ]));
}

#[test]
fn parts_of_files_are_included() {
    let part = |value: &str| {
        resolve_files(&[
            ("doc.org", &format!("#+include: {value}\n")),
            (
                "b.org",
                "zero\n* TODO [#A] One [1/2]  part :tag:\nSCHEDULED: <2024-01-01>\n:PROPERTIES:\n:CUSTOM_ID: Id\n:END:\none\n\n** Two\ntwo\n\
                 * Three\n#+name: n\n#+begin_quote\nquoted\n#+end_quote\nthree\n",
            ),
        ])
    };
    let parts = [
        "b.org :lines \"-2\"",
        "b.org :lines \"9-11\"",
        "b.org::#id",
        "b.org::#id :only-contents t",
        "\"b.org::*one part\" :only-contents t :lines \"2-3\"",
        "b.org::n",
        "b.org::n :only-contents t",
        "b.org::Three",
        "b.org::#none",
    ];
    let shown: Vec<String> = parts.iter().map(|value| format!("## {value}\n{}", part(value))).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn other_files_are_included_as_blocks() {
    insta::assert_snapshot!(resolve_files(&[
        (
            "doc.org",
            "#+name: x\n  #+INCLUDE: \"x.sh\" src sh :cpu 2\n#+include: none.txt example\n#+include: q.org quote\n"
        ),
        ("x.sh", "echo\n* star\n  ,#+x\n"),
        ("q.org", "#+begin_src sh\n#+end_src"),
    ]));
}

#[test]
fn keywords_of_a_setupfile_follow_its_line() {
    insta::assert_snapshot!(resolve_files(&[
        ("doc.org", "\u{feff}- item\r\n  #+SETUPFILE: \"a.org\"\r\nend"),
        (
            "a.org",
            "text\n#+title: no\n #+PROPERTY: header-args :cpu 2\n#+setupfile: b.org\n#+runmode: sequential\n"
        ),
        ("b.org", "#+borges_lang: x y\n#+begin_example\n#+todo: no\n#+end_example\n"),
    ]));
}

#[test]
fn keywords_in_blocks_and_comments_include_nothing() {
    let source = "#+begin_src org\n#+include: none.org\n#+end_src\n* COMMENT a\n#+include: none.org\n";
    assert_eq!(resolve_files(&[("doc.org", source)]).lines().count(), 5);
}

#[test]
fn errors_have_the_place_of_the_keyword() {
    let shown = [
        resolve_files(&[("doc.org", "#+include: none.org\n")]),
        resolve_files(&[("doc.org", "a\n  #+INCLUDE:  \"a.org\" :line 5\n")]),
        resolve_files(&[("doc.org", "#+include:\n")]),
        resolve_files(&[("doc.org", "#+setupfile:\n")]),
        resolve_files(&[("doc.org", "#+setupfile: https://example.org/x\n")]),
        resolve_files(&[("doc.org", "#+include: doc.org\n")]),
        resolve_files(&[
            ("doc.org", " #+include: a.org\n"),
            ("a.org", "x\n#+include: b.org\n"),
            ("b.org", "#+include: a.org\n"),
        ]),
        resolve_files(&[("doc.org", "#+setupfile: a.org\n"), ("a.org", "\n  #+setupfile: none.org\n")]),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn nested_includes_are_limited() {
    let twice = |path: &str| format!("#+include: {path}\n").repeat(20);
    let names: Vec<String> = (0..8).map(|n| format!("{n}.org")).collect();
    let mut files = vec![("doc.org", twice("0.org"))];
    files.extend(names.iter().enumerate().map(|(n, name)| (name.as_str(), twice(&format!("{}.org", n + 1)))));
    files.push(("8.org", "x".repeat(10_000)));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let resolved = resolve_files(&files);
    assert!(
        resolved.contains("8 files name each other") || resolved.contains("more than 64 MiB"),
        "{}",
        resolved.len()
    );
}
