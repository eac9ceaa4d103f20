//! Two reports on a document, compared field by field.

use serde_json::Value;

/// The fields of a document beside its blocks.
const DOCUMENT: [&str; 7] =
    ["crlf", "non_utf8", "keywords", "calls", "inline_blocks", "inline_calls", "look_alikes"];

/// The fields of a block.
pub const BLOCK: [&str; 18] = [
    "language",
    "name",
    "switches",
    "parameters",
    "headers",
    "first_line",
    "begin_line",
    "end_line",
    "in",
    "commented",
    "archived",
    "body",
    "params",
    "inherited",
    "eval",
    "noweb_expanded",
    "run_body",
    "error",
];

/// A field in which two reports differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The line of the block's `#+begin_src`; 0 for a field of the document.
    pub line: u64,
    /// The name of the field; `blocks` if one report has a block that the other lacks.
    pub field: &'static str,
    /// The value in the report of Emacs.
    pub emacs: Value,
    /// The value in the report of Borges.
    pub borges: Value,
}

/// The fields in which two reports differ.
pub fn differences(emacs: &Value, borges: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |line: u64, field: &'static str, emacs: &Value, borges: &Value| {
        let (emacs, borges) = (normal(field, &emacs[field]), normal(field, &borges[field]));
        if emacs != borges {
            found.push(Difference { line, field, emacs, borges });
        }
    };
    for field in DOCUMENT {
        compare(0, field, emacs, borges);
    }
    let (expected, got) = (blocks(emacs), blocks(borges));
    let lines = |blocks: &[Value]| blocks.iter().map(|block| block["begin_line"].clone()).collect::<Vec<_>>();
    for block in &expected {
        if let Some(other) = got.iter().find(|other| other["begin_line"] == block["begin_line"]) {
            for field in BLOCK {
                compare(block["begin_line"].as_u64().unwrap_or_default(), field, block, other);
            }
        }
    }
    if lines(&expected) != lines(&got) {
        let (emacs, borges) = (lines(&expected).into(), lines(&got).into());
        found.push(Difference { line: 0, field: "blocks", emacs, borges });
    }
    found
}

fn blocks(report: &Value) -> Vec<Value> {
    report["blocks"].as_array().cloned().unwrap_or_default()
}

/// A value without insignificant parts: the text of an error, and the length of a sequence of invalid bytes.
fn normal(field: &str, value: &Value) -> Value {
    match value {
        _ if field == "error" => Value::Bool(!value.is_null()),
        Value::String(text) => {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                if c != '\u{fffd}' || !out.ends_with(c) {
                    out.push(c);
                }
            }
            Value::String(out)
        }
        Value::Array(values) => values.iter().map(|value| normal("", value)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), normal("", value))).collect()
        }
        other => other.clone(),
    }
}
