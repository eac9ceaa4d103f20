//! The hash of `#+RESULTS[hash]:`, as Emacs computes it. A block whose hash is unchanged is not run again.

use std::fmt::Write;

use sha1::{Digest, Sha1};

use super::invocation::{Expansion, Source};
use super::languages::Dialect;
use super::value::Value;
use super::{byte_text, colnames, compiled, emacs_lisp, filters, scripts, shells};

/// Words of `:results` that say what becomes of it, and not what it is.
const HANDLING_WORDS: [&str; 6] = ["replace", "silent", "none", "discard", "append", "prepend"];

/// What holds where a block says nothing else.
const DEFAULTS: [(&str, &str); 7] = [
    (":session", "none"),
    (":results", "replace"),
    (":exports", "code"),
    (":cache", "no"),
    (":noweb", "no"),
    (":hlines", "no"),
    (":tangle", "no"),
];

/// Emacs' hash of a block with its values: of its header arguments and its code as it is run, 40 hexadecimal digits.
pub fn hash(source: &Source) -> String {
    let (variables, names) = colnames::strip(source.variables, source.arguments);
    let expansion = Expansion { variables: &variables, names: &names, ..Expansion::of(source) };
    let mut parts: Vec<(String, String)> = Vec::new();
    for (name, value) in &variables {
        parts.push((":var".to_owned(), pair(name, value)));
    }
    for (key, names) in [(":colname-names", &names.columns), (":rowname-names", &names.rows)] {
        if !names.is_empty() {
            let pairs: Vec<String> = names.iter().map(|(name, value)| pair(name, value)).collect();
            parts.push((key.to_owned(), format!("({})", pairs.join(" "))));
        }
    }
    let results = source.arguments.results();
    let mut words: Vec<&str> = results.words().iter().map(String::as_str).collect();
    words.retain(|word| !HANDLING_WORDS.contains(word));
    words.sort_unstable();
    words.dedup();
    if !words.is_empty() {
        let words: Vec<Value> = words.iter().map(|&word| word.into()).collect();
        parts.push((":result-params".to_owned(), Value::list(words).prin1()));
    }
    let kind = if results.is_value() { "value" } else { "output" };
    parts.push((":result-type".to_owned(), kind.to_owned()));
    let pairs = source.arguments.pairs();
    let lexical = (source.language.dialect() == Dialect::Lisp).then_some((":lexical", "no"));
    let exports = source.arguments.is_call().then_some((":exports", "results"));
    let defaults = exports.into_iter().chain(DEFAULTS).chain(lexical);
    for (key, value) in defaults {
        let is_given =
            pairs.iter().any(|(other, _)| other == key) || parts.iter().any(|(other, _)| other == key);
        if !is_given {
            parts.push((key.to_owned(), normalized(key, &value.into())));
        }
    }
    parts.extend(
        pairs
            .iter()
            .filter(|(_, value)| !is_empty(value))
            .map(|(key, value)| (key.clone(), normalized(key, value))),
    );
    parts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    let text = format!("{}-{}", parts.join(":"), expanded_code(&expansion));
    Sha1::digest(byte_text::encode(&text)).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a text does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Nil) || matches!(value, Value::Text(text) if text.is_empty())
}

/// A name and its value as Lisp holds them together.
fn pair(name: &str, value: &Value) -> String {
    let name = Value::Symbol(name.to_owned());
    match value {
        Value::Nil => Value::List(vec![name]),
        Value::List(items) => Value::List(std::iter::once(name).chain(items.iter().cloned()).collect()),
        value => Value::Dotted(vec![name], Box::new(value.clone())),
    }
    .prin1()
}

/// The value of a header argument, its words sorted where their order means nothing.
fn normalized(key: &str, value: &Value) -> String {
    match value {
        Value::Text(text) if matches!(key, ":results" | ":exports") => {
            let mut words: Vec<&str> =
                text.split_whitespace().filter(|word| !HANDLING_WORDS.contains(word)).collect();
            words.sort_unstable();
            Value::Text(words.join(" ")).prin1()
        }
        value => value.prin1(),
    }
}

/// The code as Babel shows it with its variables.
fn expanded_code(expansion: &Expansion) -> String {
    match expansion.language.dialect() {
        // Emacs asks its own shell, and not the block's, how variables are written: `sh`.
        Dialect::Shell(_) => expansion.expanded_body(shells::plain_assignments(expansion)),
        Dialect::Python => expansion.expanded_body(scripts::python::assignments(expansion)),
        Dialect::Ruby => expansion.expanded_body(scripts::ruby::assignments(expansion)),
        Dialect::Perl => expansion.expanded_body(scripts::perl::assignments(expansion)),
        Dialect::Js => expansion.expanded_body(scripts::js::assignments(expansion)),
        Dialect::Lua => expansion.expanded_body(scripts::lua::assignments(expansion)),
        Dialect::R => scripts::r::expanded_code(expansion),
        Dialect::Awk => expansion.wrap_body(),
        Dialect::Sqlite => {
            filters::sqlite::expanded_code(expansion, &mut |number, _| format!("block/table-{number}.csv"))
        }
        Dialect::Lisp => emacs_lisp::expanded_code(expansion),
        Dialect::C | Dialect::Cpp => compiled::expanded_code(expansion),
        Dialect::Plain | Dialect::Sed | Dialect::Go | Dialect::Rust | Dialect::Java | Dialect::Make => {
            expansion.expanded_body([])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arguments, Languages, lisp};
    use borges_org as org;

    fn hash_of(language: &str, line: &str, body: &str, variables: &[(&str, &str)]) -> String {
        let document =
            org::parse(format!("#+begin_src {language} :cache yes {line}\n#+end_src\n").as_bytes(), &[]);
        let language = Languages::default().get(language).unwrap();
        let arguments = Arguments::from_params(&document.blocks[0].params);
        let variables: Vec<(String, Value)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), lisp::read(value).unwrap().0))
            .collect();
        let source =
            Source { language: &language, body, arguments: &arguments, variables: &variables, stdin: None };
        hash(&source)
    }

    /// What Org 9.8.9 writes.
    #[rstest::rstest]
    #[case("perl", "", "1;", &[("x", "5"), ("y", "\"a b\"")], "bb8da6fa97c7ced57262cd2ac2cfe15a6a972580")]
    #[case("sh", "", "true", &[("x", "5"), ("t", "((\"a\" \"b\") hline (1 2.5))"), ("l", "(\"x\" 7)")], "b953d758b53349306bff2730a157d40b0a0c52a7")]
    #[case("bash", ":results output verbatim", "true", &[("t", "((\"a\" \"b\") hline (1 2.5))")], "4d4b4d3d55a970dca24e9b5d70c0a69b305fb1bb")]
    #[case("python", ":colnames yes :results value raw", "return 1", &[("t", "((\"a\" \"b\") hline (1 2.5))")], "dfd2d7ba200f8aad059649641ef3648663b3b5d2")]
    #[case("ruby", "", "1", &[("t", "((\"a\" \"b\") hline (1 2.5))"), ("s", "\"q\\\"x\"")], "12baabb0c5416b13a9ee5109261360862437df55")]
    #[case("js", "", "return 1", &[("t", "((\"a\" \"b\") hline (1 2.5))"), ("s", "\"a\"")], "c128a4cad302768b7688b0c2df79c68821db1dd8")]
    #[case("awk", ":prologue \"BEGIN{x=1}\" :cmd-line \"-F :\"", "BEGIN { print 1 }", &[], "a2a0dc70b707e27615124f6db50cc5aca88fede9")]
    #[case("R", "", "1", &[("t", "((\"a\" \"b\") hline (1 2.5))"), ("n", "3"), ("s", "\"abc\"")], "399e0b6373459eac917be26e245edee32f05d200")]
    #[case("C", ":includes <stdio.h>", "puts(\"x\");", &[("n", "3"), ("s", "\"abc\""), ("t", "((\"a\" \"b\") hline (1 2.5))")], "9b7798908ad1c384d3710b0dc65be5d1eb2e0410")]
    #[case("lua", "", "return 1", &[("n", "3"), ("s", "\"abc\"")], "c6aba7df713f2c71d427c538b40a9e12d2e9adc9")]
    #[case("emacs-lisp", "", "1", &[("n", "3"), ("s", "\"abc\""), ("u", "((\"a\" \"b\") hline (1 2.5))")], "08248b4b5c7495160d12c229490725f3dae2f36a")]
    #[case("sqlite", ":db x.db", "select $n;", &[("n", "3")], "6c21c1088b26f8f515e11d3b783995016f1097a7")]
    #[case("sed", ":prologue p", "s/a/b/", &[], "98a885ef6f2aee4278fdc93019a3143c47597fd2")]
    #[case("sh", ":wrap quote :rownames yes :cmdline 7 :results output replace", "true", &[], "b6c03945a71a327ab400e0237e929b38dd41b228")]
    #[case("python", ":results output", "print(a)", &[("a", "1")], "0134e94ec2be9406508df037c6ec5644176ffcac")]
    fn hashes_equal_those_of_emacs(
        #[case] language: &str,
        #[case] line: &str,
        #[case] body: &str,
        #[case] variables: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        assert_eq!(hash_of(language, line, body, variables), expected);
    }
}
