//! Python.

use std::fmt::Write;

use crate::byte_text;
use crate::invocation::{BODY, Execution, Expansion, Invocation, VALUE};
use crate::print::quote;
use crate::read::parse_list;
use crate::value::Value;

/// Writes a value into the block's file, in Python's own notation.
const WRITE: &str = r"
def __borges_write(value, words):
    import os
    path = os.path.join(os.environ['MESOS_SANDBOX'], 'block/value')
    def plain(it):
        if isinstance(it, dict):
            return [(key, plain(inner)) for key, inner in it.items()]
        if isinstance(it, (list, tuple)):
            return [plain(inner) for inner in it]
        return it
    def framed(it):
        import sys
        pandas, numpy = sys.modules.get('pandas'), sys.modules.get('numpy')
        table = 'table' in words
        if table:
            it = plain(it)
        if table and pandas and isinstance(it, pandas.DataFrame):
            head = [[it.index.name or ''] + list(it.columns)]
            it = head + [None] + [[label] + list(row) for label, row in it.iterrows()]
        elif table and pandas and isinstance(it, pandas.Series):
            it = list(it.items())
        if numpy and isinstance(it, numpy.ndarray):
            it = it.tolist() if table else repr(it)
        return it
    if 'pp' in words:
        import pprint
        text = pprint.pformat(value)
    elif 'list' in words and isinstance(value, dict):
        text = str(['{} :: {}'.format(key, inner) for key, inner in value.items()])
    elif {'scalar', 'verbatim', 'raw'}.intersection(words):
        text = str(value)
    else:
        text = str(framed(value))
    with open(path, 'w', encoding='utf-8', errors='surrogateescape', newline='') as out:
        out.write(text)
";

pub(crate) fn compose(expansion: &Expansion) -> Invocation {
    let results = expansion.arguments.results();
    let mut code = expansion.expanded_body(assignments(expansion));
    let preamble = expansion.arguments.text(":preamble").map_or(String::new(), |text| text + "\n");
    let image_file = expansion.arguments.text(":file").filter(|_| results.has("graphics"));
    // A function wants a body; in Babel nothing comes of an empty one either.
    if results.is_value() && (!code.trim().is_empty() || expansion.arguments.has(":return")) {
        if let Some(value) = expansion.arguments.text(":return") {
            let _ = write!(code, "\nreturn {value}");
        }
        let write = match &image_file {
            Some(file) => format!("main().savefig({})", literal(file)),
            None => format!("__borges_write(main(), {})", words(results.words())),
        };
        code = format!("{preamble}{WRITE}\ndef main():\n{}\n\n{write}\n", indented(&code));
    } else if let Some(file) = &image_file {
        let file = literal(file);
        code = format!(
            "{preamble}import matplotlib.pyplot\nmatplotlib.pyplot.gcf().clear()\n{code}\nmatplotlib.pyplot.savefig({file})\n"
        );
    } else {
        code = preamble + &code + "\n";
    }
    let (program, arguments) = expansion.command(":python");
    // Read from the input, as in Emacs: modules are then looked for where the block starts.
    Invocation {
        program,
        arguments,
        body: byte_text::encode(&code),
        stdin: Some(BODY.to_owned()),
        ..Invocation::default()
    }
}

pub(crate) fn collect(expansion: &Expansion, execution: &Execution) -> Value {
    let raw =
        if expansion.arguments.results().is_value() { execution.written() } else { execution.printed() };
    let value = expansion.scalar_or(&raw, || {
        if raw.starts_with('{') {
            Value::text(&raw)
        } else {
            parse_list(&raw, |item| *item == Value::Symbol("None".into()))
        }
    });
    expansion.restore_names(value)
}

/// Lines that set the variables.
pub(crate) fn assignments(expansion: &Expansion) -> Vec<String> {
    expansion.variables.iter().map(|(name, value)| format!("{name}={}", value_literal(value))).collect()
}

/// A value in Python's notation.
fn value_literal(value: &Value) -> String {
    match value {
        Value::Nil => "[]".to_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(value_literal).collect::<Vec<_>>().join(", ")),
        value if value.is_rule() => "None".to_owned(),
        Value::Text(text) if text.contains(['\n', '\r']) => format!("\"\"{}\"\"", value.prin1()),
        value => value.prin1(),
    }
}

fn literal(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

fn words(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| literal(word)).collect::<Vec<_>>().join(", "))
}

/// The code moved right by four columns, but for lines that begin within a text.
fn indented(code: &str) -> String {
    let mut out = String::with_capacity(code.len() + code.len() / 8);
    let mut open: Option<Quote> = None;
    for line in code.split_inclusive('\n') {
        if open.is_none() && !line.trim().is_empty() {
            out.push_str("    ");
        }
        out.push_str(line);
        open = open_quote(line, open);
    }
    out
}

/// What a text that has not ended began with.
#[derive(Clone, Copy)]
struct Quote {
    mark: char,
    triple: bool,
}

/// The text that is open at the end of `line`, if one was open at its beginning.
fn open_quote(line: &str, mut open: Option<Quote>) -> Option<Quote> {
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match open {
            None if c == '#' => return None,
            None if c == '"' || c == '\'' => {
                let two: String = [c, c].iter().collect();
                let triple = rest.starts_with(&two);
                rest = if triple { &rest[2..] } else { rest };
                open = Some(Quote { mark: c, triple });
            }
            None => {}
            Some(_) if c == '\\' => {
                let skipped = rest.chars().next().map_or(0, char::len_utf8);
                // A line end that is escaped keeps the text open.
                if rest.starts_with('\n') {
                    return open;
                }
                rest = &rest[skipped..];
            }
            Some(Quote { mark, triple }) if c == mark => {
                let two: String = [c, c].iter().collect();
                if !triple {
                    open = None;
                } else if rest.starts_with(&two) {
                    rest = &rest[2..];
                    open = None;
                }
            }
            Some(Quote { triple: false, .. }) if c == '\n' => open = None,
            Some(_) => {}
        }
    }
    open
}

/// Where the value lies; the code above writes there.
const _: () = assert!(matches!(VALUE.as_bytes(), b"block/value"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_within_strings_are_not_indented() {
        let code =
            "a = '''x\ny'''\n# it's\nb = 'c' \\\n 'd'\n\nif a:\n  return \"\"\"\n\"\"\"\nc = 'e\\\nf'\n";
        let expected = "    a = '''x\ny'''\n    # it's\n    b = 'c' \\\n     'd'\n\n    if a:\n      return \"\"\"\n\"\"\"\n    c = 'e\\\nf'\n";
        assert_eq!(indented(code), expected);
    }

    #[test]
    fn values_are_written_as_python_literals() {
        let table = Value::list(vec![Value::list(vec!["a".into(), 1.into()]), Value::rule(), Value::Nil]);
        assert_eq!(value_literal(&table), "[[\"a\", 1], None, []]");
        assert_eq!(value_literal(&"a\n\"b\"".into()), "\"\"\"a\n\\\"b\\\"\"\"\"");
    }
}
