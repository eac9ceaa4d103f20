//! Files of settings that a document names by `#+SETUPFILE:`, read from disk as Org reads them: their
//! `header-args` properties hold from that line on. A file may name others; each lies relative to the one that
//! names it.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use crate::org::{self, Keyword, Named, Position, Property};
use crate::spec::Problem;

/// How many files may name each other in a row.
const DEEPEST: usize = 8;

/// The properties of the files that the document `source` names, in the order in which they hold. `name` is the
/// document for messages, `path` where it lies.
pub(super) fn read(name: &str, path: &Path, source: &[u8]) -> Result<Vec<Property>, Exit> {
    if memchr::memmem::find(&source.to_ascii_lowercase(), b"#+setupfile").is_none() {
        return Ok(Vec::new());
    }
    let mut properties = Vec::new();
    let document = org::parse(source, &[]);
    let own = Open { path: path.to_owned(), shown: name.to_owned() };
    for keyword in document.keywords.iter().filter(|keyword| keyword.key == "SETUPFILE") {
        let mut open = vec![Open { ..own.clone() }];
        collect(keyword, keyword.at.line, &mut open, &mut properties).map_err(|(file, problem)| {
            eprintln!("{file}:{problem}");
            if file == name {
                eprintln!("{}", org::excerpt(source, problem.at));
            }
            if !problem.help.is_empty() {
                eprintln!("  {}", problem.help);
            }
            Exit::Wrong
        })?;
    }
    Ok(properties)
}

#[derive(Debug, Clone)]
struct Open {
    path: PathBuf,
    shown: String,
}

/// Reads the file that `keyword` of the innermost open one names; `line` is the document's own.
fn collect(
    keyword: &Keyword,
    line: u32,
    open: &mut Vec<Open>,
    properties: &mut Vec<Property>,
) -> Result<(), (String, Problem)> {
    let Some(this) = open.last().cloned() else { return Ok(()) };
    let wrong = |text: String, help: &str| (this.shown.clone(), Problem::error(keyword.at, text, help));
    let target = keyword.value.trim_matches('"');
    if target.is_empty() {
        return Err(wrong("`#+SETUPFILE:` names no file".to_owned(), "Write its path."));
    }
    if target.contains("://") {
        let help = "Save the file beside the document, and write its path here.";
        return Err(wrong(format!("`{target}` is a URL, and nothing is fetched from one"), help));
    }
    let path = this.path.parent().unwrap_or(Path::new("")).join(home(target));
    let read = path.canonicalize().and_then(|canonical| Ok((fs::read(&canonical)?, canonical)));
    let (source, canonical) = read.map_err(|error| {
        wrong(
            format!("`{}` cannot be read: {error}", path.display()),
            "Its path is relative to the file that names it.",
        )
    })?;
    if open.iter().any(|open| open.path.canonicalize().is_ok_and(|open| open == canonical)) {
        return Err(wrong(
            format!("`{target}` names itself, by way of other files or none"),
            "Leave out this line.",
        ));
    }
    if open.len() > DEEPEST {
        return Err(wrong(
            format!("more than {DEEPEST} files name each other"),
            "Put the settings into fewer files.",
        ));
    }
    let document = org::parse(&source, &[]);
    let shown = path.display().to_string();
    open.push(Open { path: canonical, shown: shown.clone() });
    for keyword in &document.keywords {
        match keyword.key.as_str() {
            "SETUPFILE" => collect(keyword, line, open, properties)?,
            "PROPERTY" => properties.extend(property(keyword, line, &shown)),
            _ => {}
        }
    }
    open.pop();
    Ok(())
}

fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// `header-args[:language][+] arguments`.
fn property(Keyword { value, at, .. }: &Keyword, line: u32, file: &str) -> Option<Property> {
    let (name, arguments) = value.split_once([' ', '\t'])?;
    let name = name.to_lowercase();
    let (name, appends) = name.strip_suffix('+').map_or((name.as_str(), false), |name| (name, true));
    let language = match name.strip_prefix("header-args")? {
        "" => None,
        language => Some(language.strip_prefix(':')?.to_owned()),
    };
    let arguments = arguments.trim();
    let before = value.find(arguments).map_or(0, |n| value[..n].chars().count());
    let column = at.column.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
    let named = Some(Named { line, file: file.to_owned(), appends });
    Some(Property { language, value: arguments.to_owned(), at: Position { column, ..*at }, named })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let path = folder.path().join(files[0].0);
        let source = files[0].1.as_bytes();
        let own = Open { path, shown: "doc.org".to_owned() };
        let mut properties = Vec::new();
        for keyword in org::parse(source, &[]).keywords.iter().filter(|keyword| keyword.key == "SETUPFILE") {
            let mut open = vec![own.clone()];
            if let Err((file, problem)) = collect(keyword, keyword.at.line, &mut open, &mut properties) {
                let text = format!("{file}:{problem}");
                return text
                    .replace(&folder.path().display().to_string(), "")
                    .replace(&folder.path().canonicalize().unwrap().display().to_string(), "");
            }
        }
        let document = org::parse(source, &properties);
        let params = document.blocks[0].params.iter();
        let shown = |origin| match origin {
            org::Origin::File(file) => {
                Path::new(&document.files[file as usize]).file_name().unwrap().to_str().unwrap().to_owned()
            }
            _ => "doc.org".to_owned(),
        };
        params
            .map(|p| format!("{} {} {}:{}:{}\n", p.key, p.text, shown(p.origin), p.at.line, p.at.column))
            .collect::<Vec<_>>()
            .concat()
    }

    const BLOCK: &str = "#+begin_src sh :dir /\n#+end_src\n";

    #[test]
    fn a_file_says_what_the_document_would_say_there() {
        let shared = (
            "s/shared.org",
            "text\n#+PROPERTY: header-args :cpu 2\n#+property: header-args:sh  :mem 1\n#+setupfile: more.org\n",
        );
        let more = ("s/more.org", "#+PROPERTY: header-args+ :gpus 1\n");
        let before = format!("#+property: header-args :cpu 9 :disk 1\n#+setupfile: s/shared.org\n{BLOCK}");
        insta::assert_snapshot!(told(&[("doc.org", &before), shared, more]), @r"
        :dir / doc.org:3:16
        :mem 1 shared.org:3:29
        :gpus 1 more.org:1:26
        :cpu 2 shared.org:2:25
        ");
        let after = format!("#+SETUPFILE: \"s/shared.org\"\n#+property: header-args :cpu 9\n{BLOCK}");
        insta::assert_snapshot!(told(&[("doc.org", &after), shared, more]), @r"
        :dir / doc.org:3:16
        :mem 1 shared.org:3:29
        :cpu 9 doc.org:2:25
        ");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let doc = |line: &str| format!("{line}\n{BLOCK}");
        insta::assert_snapshot!(told(&[("doc.org", &doc("#+setupfile: https://example.org/x.org"))]), @"doc.org:1:14: error: `https://example.org/x.org` is a URL, and nothing is fetched from one");
        insta::assert_snapshot!(told(&[("doc.org", &doc("#+setupfile: none.org"))]), @"doc.org:1:14: error: `/none.org` cannot be read: No such file or directory (os error 2)");
        insta::assert_snapshot!(told(&[("doc.org", &doc("#+setupfile: doc.org"))]), @"doc.org:1:14: error: `doc.org` names itself, by way of other files or none");
        insta::assert_snapshot!(told(&[("doc.org", &doc("#+setupfile: a.org")), ("a.org", "#+setupfile: b.org\n"), ("b.org", "\n#+setupfile: a.org\n")]), @"/b.org:2:14: error: `a.org` names itself, by way of other files or none");
    }
}
