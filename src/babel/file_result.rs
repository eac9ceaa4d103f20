//! Applies `:file`: the value that a reference to the block gets, and the file that is written.

use super::arguments::Arguments;
use super::generic::{self, echo};
use super::value::Value;

/// A block's value once `:file` has had its say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockResult {
    /// What a reference to the block sees, and what is written into the document; a file's name, if it is one.
    pub value: Value,
    /// The file that comes with it.
    pub file: Option<ResultFile>,
    /// What `*this*` is in `:post`.
    pub this: Value,
}

/// A file that is the result of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// As the document names it: seen from where the block starts.
    pub name: String,
    /// What is to be written into it; `None` where the block itself has written it, or nothing is.
    pub bytes: Option<Vec<u8>>,
    /// Its permissions, where `:file-mode` says them.
    pub mode: Option<u32>,
}

/// What becomes of a block's value, [`super::collect`]; `:post` comes after it.
pub fn apply_file_arg(value: Value, arguments: &Arguments) -> BlockResult {
    let results = arguments.results();
    let Some(name) = arguments.file() else {
        let value = match value {
            // A name that was printed ends before its line does.
            Value::Text(name) if results.has("file") => Value::text(name.trim_end_matches('\n')),
            value => value,
        };
        return BlockResult { this: value.clone(), value, file: None };
    };
    let writes = value != Value::Nil && !results.has("link") && !results.has("graphics");
    let bytes = writes.then(|| super::byte_text::encode(&file_contents(&value, arguments)));
    let mode = arguments
        .text(":file-mode")
        .and_then(|mode| u32::from_str_radix(mode.trim_start_matches("#o"), 8).ok());
    let this = Value::Text(link(&name, arguments));
    BlockResult { value: Value::text(&name), file: Some(ResultFile { name, bytes, mode }), this }
}

/// What a file holds whose contents are a value.
fn file_contents(value: &Value, arguments: &Arguments) -> String {
    let separator = arguments.text(":sep").unwrap_or_else(|| "\t".to_owned());
    match value {
        Value::Nil => String::new(),
        Value::List(rows) => generic::plain(rows, &separator, None),
        value => echo(value),
    }
}

/// The link to a file, `org-babel-result-to-file`.
pub fn link(name: &str, arguments: &Arguments) -> String {
    let description = match arguments.get(":file-desc") {
        None => None,
        Some(Value::Nil) => Some(name.to_owned()),
        Some(Value::Text(text)) => Some(text.clone()),
        Some(_) => None,
    };
    let description = description.map_or(String::new(), |text| format!("[{text}]"));
    let directory = arguments.text(":dir").filter(|_| !name.starts_with(['/', '~']));
    let path = match directory {
        Some(directory) if !directory.starts_with(['/', '~']) => join_paths(&directory, name),
        Some(directory) => format!("{}/{name}", directory.trim_end_matches('/')),
        None => name.to_owned(),
    };
    format!("[[file:{path}]{description}]")
}

/// A path within a directory, both relative, without needless parts.
fn join_paths(directory: &str, name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_org as org;

    fn apply(line: &str, value: Value) -> String {
        let document = org::parse(format!("#+name: b\n#+begin_src sh {line}\n#+end_src\n").as_bytes(), &[]);
        let BlockResult { value, file, this } =
            apply_file_arg(value, &Arguments::from_params(&document.blocks[0].params));
        let file = file.map(|file| (file.name, file.bytes.map(|bytes| String::from_utf8(bytes).unwrap())));
        format!("{} {file:?} {}", value.prin1(), this.prin1())
    }

    #[test]
    fn file_arguments_are_applied() {
        let table = || {
            Value::list(vec![
                Value::list(vec!["a".into(), 1.into()]),
                Value::list(vec!["b".into(), 2.into()]),
            ])
        };
        let cases = [
            apply("", table()),
            apply(":file a.txt", "text\n".into()),
            apply(":results file :file a.txt", "text\n".into()),
            apply(":results file :file a.txt :file-desc", table()),
            apply(":results file :file a.txt :file-desc \"a b\" :sep ,", table()),
            apply(":results file :file-ext csv :output-dir out", "x".into()),
            apply(":results file link :file a.txt", "x".into()),
            apply(":results file :file a.txt :dir ./sub/", Value::Nil),
        ];
        insta::assert_snapshot!(cases.join("\n"));
    }
}
