//! The header arguments of a block, as Emacs has them when it runs the block.

use serde::{Deserialize, Serialize};

use borges_org::{self as org, Param};

use super::read;
use super::value::Value;

/// Header arguments: each key with its colon and its value, in the order in which Emacs merges them; those of Emacs
/// that hold by default are left out, and so is `:var`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Arguments {
    pairs: Vec<(String, Value)>,
    inline: bool,
    /// Of a call: the words of `:results` of the block that is called.
    called_results: Option<Vec<String>>,
}

/// The words of `:results`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    words: Vec<String>,
}

impl Arguments {
    /// Those of a block, [`org::Block::params`].
    pub fn from_params(params: &[Param]) -> Self {
        let pairs = params.iter().filter(|param| param.key != ":var").map(pair).collect();
        Self { pairs, inline: false, called_results: None }
    }

    /// Those of a call: `self` are the merged ones, `block` those of the block that is called as it has them itself.
    /// The words of its `:results` hold beside the call's.
    #[must_use]
    pub fn for_call(mut self, block: &Self) -> Self {
        self.called_results = Some(block.results().words);
        self
    }

    /// Whether they are of a call.
    pub(super) fn is_call(&self) -> bool {
        self.called_results.is_some()
    }

    /// Those of code or a call within text, where other defaults hold.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Whether they are of code or a call within text.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// The value of `key`, which begins with a colon; [`Value::Nil`] where the key stands alone.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `key` as text; `None` where the key is not there, or stands alone.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).filter(|value| **value != Value::Nil).map(Value::princ)
    }

    /// Whether `key` is there, with a value or without.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The words of `:results`.
    pub fn results(&self) -> Results {
        let words = self.text(":results").unwrap_or_default();
        let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let handling_words = ["replace", "silent", "none", "discard", "append", "prepend"];
        if !words.iter().any(|word| handling_words.contains(&word.as_str())) {
            words.push("replace".to_owned());
        }
        for word in self.called_results.iter().flatten() {
            if !words.contains(word) {
                words.push(word.clone());
            }
        }
        Results { words }
    }

    /// The name of the file that holds the value, if one is to.
    pub fn file(&self) -> Option<String> {
        self.text(":file").filter(|_| self.results().has("file"))
    }

    /// All of them, in order.
    pub(super) fn pairs(&self) -> &[(String, Value)] {
        &self.pairs
    }
}

impl Results {
    /// Whether `word` is among them.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Whether the value is asked for, and not what is printed; which it is where nothing is said.
    pub(crate) fn is_value(&self) -> bool {
        !self.has("output")
    }

    /// Whether `value` is written there.
    pub(super) fn is_value_explicit(&self) -> bool {
        self.has("value")
    }

    /// Whether what comes back is a text and not read, `org-babel-result-cond`.
    pub(crate) fn is_scalar(&self) -> bool {
        ["scalar", "verbatim", "html", "code", "pp", "file"].iter().any(|word| self.has(word))
            || ["output", "raw", "org"].iter().any(|word| self.has(word)) && !self.has("table")
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The same without `word`.
    #[must_use]
    pub fn without(mut self, word: &str) -> Self {
        self.words.retain(|other| other != word);
        self
    }
}

fn pair(param: &Param) -> (String, Value) {
    let value = match &param.value {
        org::Value::None => Value::Nil,
        org::Value::Integer(number) => Value::Integer(*number),
        org::Value::Float(number) => Value::Float(*number),
        org::Value::Text(text) if param.lisp => read::evaluated(text),
        org::Value::Text(text) => read::number(text).unwrap_or_else(|| Value::text(text)),
    };
    (param.key.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        let document = org::parse(format!("#+begin_src sh {line}\n#+end_src\n").as_bytes(), &[]);
        Arguments::from_params(&document.blocks[0].params)
    }

    #[test]
    fn values_are_read_as_by_emacs() {
        let all = arguments(":cmdline 007 :a :colnames '(\"x\" y) :prologue \"b c\" :results output list");
        assert_eq!(all.text(":cmdline").as_deref(), Some("7"));
        assert_eq!(all.get(":a"), Some(&Value::Nil));
        assert_eq!(all.get(":colnames").unwrap().prin1(), "(\"x\" y)");
        assert_eq!(all.text(":prologue").as_deref(), Some("b c"));
        let results = all.results();
        assert!(results.has("replace") && results.has("list") && !results.is_value() && results.is_scalar());
        assert!(!arguments(":results silent").results().has("replace"));
    }
}
