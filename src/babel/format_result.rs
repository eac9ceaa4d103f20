//! Formats a value as the text under `#+RESULTS:`, as `org-babel-insert-result` does.

use super::align;
use super::arguments::{Arguments, Results};
use super::file_result;
use super::generic::echo;
use super::notation::{
    align_leading_table, escape_lines, escape_macro_argument, example, is_blank, list, table,
};
use super::value::Value;

/// What is to be written into a document.
#[derive(Debug, Clone, Copy)]
pub struct Insertion<'a> {
    /// The value, after [`super::apply_file_arg`] and `:post`.
    pub value: &'a Value,
    /// The header arguments of the block or call it belongs to.
    pub arguments: &'a Arguments,
    /// The block's language, as it is written.
    pub language: &'a str,
    /// `:post` has made this value of a file's link, which is no name of a file any more.
    pub posted: bool,
}

/// Why a value cannot stand within text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InlineError {
    /// `:results table`
    #[error("`:results table` cannot stand within text")]
    Table,
    /// `:results drawer`
    #[error("`:results drawer` cannot stand within text")]
    Drawer,
    /// `:results list`
    #[error("`:results list` cannot stand within text")]
    List,
    /// A list or a table.
    #[error("a list or a table cannot stand within text: the block yields one")]
    ListResult,
    /// Several lines.
    #[error("several lines cannot stand within text: the block yields more than one")]
    Lines,
}

impl Insertion<'_> {
    /// The words of `:results` in force.
    pub(super) fn results(&self) -> Results {
        let results = self.arguments.results();
        if self.posted && self.arguments.has(":file") { results.without("file") } else { results }
    }

    /// The value as text or list: a file's name has become a link.
    fn value(&self, results: &Results) -> Value {
        match self.value {
            Value::Text(name) if results.has("file") => Value::Text(file_result::link(name, self.arguments)),
            value @ (Value::Text(_) | Value::Nil | Value::List(_) | Value::Dotted(..)) => value.clone(),
            other => Value::Text(other.prin1()),
        }
    }

    /// The lines under `#+RESULTS:`, not indented; empty for a block without a value.
    pub fn lines(&self) -> String {
        let results = self.results();
        let value = match self.value(&results) {
            Value::Text(text) if !is_blank(&text) && !text.ends_with('\n') => Value::Text(text + "\n"),
            value => value,
        };
        let is_table = is_tabular(&value);
        let text = match &value {
            Value::Nil => String::new(),
            value if results.has("list") => list(value),
            Value::List(items) if is_table => table(items),
            value if value.is_list() => value.princ() + "\n",
            value => value.princ(),
        };
        // A text of several lines in a cell tears the table: what comes after its first line is none of it.
        let rows: usize = text.split_inclusive('\n').take(align::table_lines(&text)).map(str::len).sum();
        let (inner, rest) = text.split_at(if is_table && rows > 0 { rows } else { text.len() });
        self.wrap(inner, &results, is_table) + rest
    }

    /// Whether the lines are those of a table, which one that stands there already goes together with.
    pub(super) fn is_table(&self) -> bool {
        let results = self.results();
        let value = self.value(&results);
        value != Value::Nil && !results.has("list") && is_tabular(&value)
    }

    /// Whether the lines are an example block: its last line takes the place of a blank one that follows.
    pub(super) fn is_example(&self) -> bool {
        let results = self.results();
        let in_block = ["html", "latex", "org", "code", "raw", "drawer", "wrap", "file"];
        !self.arguments.has(":wrap")
            && !in_block.iter().any(|word| results.has(word))
            && !is_tabular(&self.value(&results))
            && self.lines().starts_with("#+begin_example\n")
    }

    fn wrap(&self, text: &str, results: &Results, is_table: bool) -> String {
        let in_block = |begin: &str, inner: &str, end: &str| format!("{begin}\n{inner}{end}\n");
        if let Some(wrap) = self.arguments.get(":wrap") {
            let full = if *wrap == Value::Nil { "results".to_owned() } else { wrap.princ() };
            let kind = full.split_whitespace().next().unwrap_or_default();
            let (begin, end) = (format!("#+begin_{full}"), format!("#+end_{kind}"));
            return match kind.to_lowercase().as_str() {
                "nil" | "no" => text.to_owned(),
                "export" | "example" | "src" => in_block(&begin, &escape_lines(text), &end),
                _ => in_block(&begin, text, &end),
            };
        }
        if results.has("html") {
            in_block("#+begin_export html", &escape_lines(text), "#+end_export")
        } else if results.has("latex") {
            in_block("#+begin_export latex", &escape_lines(text), "#+end_export")
        } else if results.has("org") {
            in_block("#+begin_src org", &escape_lines(&align_leading_table(text)), "#+end_src")
        } else if results.has("code") {
            in_block(&format!("#+begin_src {}", self.language), &escape_lines(text), "#+end_src")
        } else if results.has("raw") {
            align_leading_table(text)
        } else if results.has("drawer") || results.has("wrap") {
            in_block(":results:", &align_leading_table(text), ":end:")
        } else if !is_table && !results.has("file") {
            example(text)
        } else {
            text.to_owned()
        }
    }

    /// What stands within text, after its block or call; `Ok(None)` for nothing.
    ///
    /// # Errors
    /// What cannot stand there; Emacs writes nothing then.
    pub fn inline(&self) -> Result<Option<String>, InlineError> {
        let results = self.results();
        let value = self.value(&results);
        let error = match &value {
            _ if results.has("table") => Some(InlineError::Table),
            _ if results.has("drawer") => Some(InlineError::Drawer),
            value if value.is_list() && *value != Value::Nil => Some(InlineError::ListResult),
            Value::Text(text) if text.find('\n').is_some_and(|at| at + 1 < text.len()) => {
                Some(InlineError::Lines)
            }
            _ if results.has("list") => Some(InlineError::List),
            _ => None,
        };
        if let Some(error) = error {
            return Err(error);
        }
        if value == Value::Nil {
            return Ok(None);
        }
        let text = echo(&value);
        let text = if results.has("file") {
            escape_macro_argument(&text)
        } else if results.has("raw") {
            text
        } else {
            escape_macro_argument(text.trim_end_matches('\n'))
        };
        let in_block =
            |begin: &str, end: &str| format!("{{{{{{results({begin}{}{end})}}}}}}", escape_lines(&text));
        let open = |begin: &str, end: &str| format!("{{{{{{results({begin}{text}{end})}}}}}}");
        if let Some(wrap) = self.arguments.get(":wrap") {
            let full = if *wrap == Value::Nil { "results".to_owned() } else { wrap.princ() };
            let words: Vec<&str> = full.split_whitespace().collect();
            let kind = words.first().copied().unwrap_or_default();
            return Ok(Some(match kind.to_lowercase().as_str() {
                "nil" | "no" => text,
                "export" => in_block(&format!("@@{}:", words.get(1).unwrap_or(&"none")), "@@"),
                "example" => in_block("=", "="),
                "src" => match words.as_slice() {
                    [_] => in_block("src_none{", "}"),
                    [_, language] => in_block(&format!("src_{language}{{"), "}"),
                    [_, language, rest @ ..] => {
                        in_block(&format!("src_{language}[{}]{{", rest.join(" ")), "}")
                    }
                    [] => text,
                },
                _ => open("", ""),
            }));
        }
        Ok(Some(if results.has("html") {
            in_block("@@html:", "@@")
        } else if results.has("latex") {
            in_block("@@latex:", "@@")
        } else if results.has("org") {
            in_block("src_org{", "}")
        } else if results.has("code") {
            in_block(&format!("src_{}[]{{", self.language), "}")
        } else if results.has("raw") {
            text
        } else if results.has("wrap") || results.has("file") {
            open("", "")
        } else {
            open("=", "=")
        }))
    }
}

/// A list whose items are lists, or no lists at all, but none that has something else at its end.
fn is_tabular(value: &Value) -> bool {
    match value {
        Value::Nil => true,
        Value::List(items) => items.iter().all(|item| !matches!(item, Value::Dotted(..))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lisp;
    use borges_org as org;

    fn lines_of(insertion: &Insertion<'_>) -> String {
        insertion.lines()
    }

    fn insertion(line: &str, value: &Value, write: fn(&Insertion<'_>) -> String) -> String {
        let document = org::parse(format!("#+begin_src sh {line}\n#+end_src\n").as_bytes(), &[]);
        let arguments = Arguments::from_params(&document.blocks[0].params);
        let insertion = Insertion { value, arguments: &arguments, language: "sh", posted: false };
        format!("=== {line} {}\n{}", value.prin1(), write(&insertion))
    }

    #[test]
    fn lists_and_tables_are_written_as_by_emacs() {
        let list = [
            "(\"a\" \"b\")",
            "(1 \"b c\")",
            "((\"a\" 1) (\"b\"))",
            "(\"a\" (\"x\" \"y\") \"c\")",
            "\"a\nb\n\nc\"",
            "\"\"",
            "\"  \"",
            "\"x\"",
            "nil",
            "(nil)",
            "(\"a\nb\")",
            "(\"- x\" \"y\")",
            "(((\"n\" 1)) \"q\")",
            "(\"\")",
            "(\"\" \"a\")",
            "(\"a  \" \"  b\")",
        ];
        let table = [
            "((\"#\" 1) (\"\" 2))",
            "((\"\" 1) (\"\" 2))",
            "((\"!\" 1) (\"a\" 2))",
            "((\"a|b\" 1))",
            "(hline (\"a\") hline)",
            "((\"a\" hline) (\"b\" 1))",
            "((nil 1) (t 2))",
            "((\"\" \"\"))",
            "((\"1\" \"x\") (\"2\" \"3\"))",
            "((a . b))",
            "(1 (2 . 3))",
            "((\" a \" \"b  c\"))",
            "[1 \"a\"]",
            "t",
            "(1 nil 2)",
            "((\"a\") (\"b\" \"c\" \"d\"))",
            "(hline)",
            "(((1 2) \"x\"))",
            "(\"a\" (\"b\"))",
            "((\"a\n\"))",
            "((\"a\n\" \"b\"))",
        ];
        let read = |text: &str| lisp::read(text).unwrap().0;
        let mut outputs: Vec<String> = Vec::new();
        outputs.extend(list.map(|text| insertion(":results list", &read(text), lines_of)));
        outputs.extend(table.map(|text| insertion("", &read(text), lines_of)));
        insta::assert_snapshot!(outputs.concat());
    }

    #[test]
    fn texts_are_wrapped_in_blocks() {
        let text = "* a\n  #+b\n,c\n,,* d".into();
        let long = Value::text("*\n".repeat(10));
        let lines = [
            "",
            ":results output",
            ":results html",
            ":results latex",
            ":results org",
            ":results code",
            ":results raw",
            ":results drawer",
            ":results verbatim",
            ":wrap",
            ":wrap no",
            ":wrap quote :b",
            ":wrap EXPORT html",
            ":wrap src json",
            ":results file",
        ];
        let mut outputs: Vec<String> = lines.map(|line| insertion(line, &text, lines_of)).into();
        outputs.push(insertion("", &long, lines_of));
        outputs.push(insertion(":results raw", &"| a | bb |\n|-\n| ccc |".into(), lines_of));
        insta::assert_snapshot!(outputs.concat());
    }

    #[test]
    fn inline_results_are_written_as_by_emacs() {
        let inline = |insertion: &Insertion<'_>| format!("{:?}\n", insertion.inline());
        let text = "a, b\\,c\n".into();
        let lines = [
            "",
            ":results raw",
            ":results html",
            ":results code",
            ":results org",
            ":results file",
            ":results drawer",
            ":results list",
            ":results table",
            ":wrap",
            ":wrap src",
            ":wrap src c -n",
            ":wrap export latex",
            ":wrap example",
        ];
        let mut outputs: Vec<String> = lines.map(|line| insertion(line, &text, inline)).into();
        outputs.push(insertion("", &"a\nb".into(), inline));
        outputs.push(insertion("", &Value::Nil, inline));
        outputs.push(insertion("", &Value::list(vec![1.into()]), inline));
        insta::assert_snapshot!(outputs.concat());
    }
}
