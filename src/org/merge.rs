//! Merges the header arguments of a block, as `org-babel-merge-params` does.
//!
//! A later argument replaces an earlier one of the same key. Variables are merged by name, and the words of `:results`
//! and `:exports` replace only words of their own group.

use std::collections::{HashMap, VecDeque};

use super::document::{Origin, Param, Position, Value};

/// Words of `:results` that exclude each other.
const RESULTS_GROUPS: [&[&str]; 4] = [
    &["file", "list", "vector", "table", "scalar", "verbatim"],
    &["raw", "html", "latex", "org", "code", "pp", "drawer", "link", "graphics"],
    &["replace", "silent", "none", "discard", "append", "prepend"],
    &["output", "value"],
];

/// Words of `:exports` that exclude each other.
const EXPORTS_GROUPS: [&[&str]; 1] = [&["code", "results", "both", "none"]];

/// Merges `params`, lowest priority first. The order of the outcome is Org's: `:results`, `:exports`,
/// variables, then the others, the last first.
pub(super) fn merge(
    params: impl IntoIterator<Item = Param>,
    name: Option<&str>,
) -> Result<Vec<Param>, (Position, String)> {
    let mut variables = Variables::default();
    let mut results = Words::new(&RESULTS_GROUPS);
    let mut exports = Words::new(&EXPORTS_GROUPS);
    let mut others = Slots::default();
    for param in params {
        match param.key.as_str() {
            ":var" => variables.add(param)?,
            ":results" if !matches!(param.value, Value::Text(_)) => {
                return Err((param.at, "`:results` needs a value: write e.g. `:results output`".into()));
            }
            ":results" => results.add(&param),
            ":exports" if matches!(param.value, Value::Integer(_) | Value::Float(_)) => {
                return Err((param.at, "`:exports` takes `code`, `results`, `both` or `none`".into()));
            }
            ":exports" => exports.add(&param),
            ":dir" if param.text == "'attach" => {
                let message = "`:dir 'attach` names a directory only Emacs knows: write the directory itself";
                return Err((param.at, message.into()));
            }
            _ => {
                others.put(param.key.clone(), param);
            }
        }
    }
    let mut others: Vec<Param> = others.slots.into_iter().rev().flatten().collect();
    let mut merged = file_name(&mut others, name).into_iter().collect::<Vec<_>>();
    merged.extend(results.into_param(":results"));
    merged.extend(exports.into_param(":exports"));
    merged.extend(variables.slots.slots.into_iter().flatten());
    merged.append(&mut others);
    Ok(merged)
}

/// `:output-dir` goes before the file name; `:file-ext` makes one of the block's name.
fn file_name(params: &mut [Param], name: Option<&str>) -> Option<Param> {
    let value_of = |key: &str, params: &[Param]| {
        params.iter().find(|param| param.key == key && param.value != Value::None).cloned()
    };
    let folder = value_of(":output-dir", params).map_or(String::new(), |folder| match folder.text {
        text if text.is_empty() => "./".into(),
        text if text.ends_with('/') => text,
        text => text + "/",
    });
    if let Some(file) = params.iter_mut().find(|param| param.key == ":file") {
        if !folder.is_empty() {
            file.text.insert_str(0, &folder);
            file.value = Value::Text(file.text.clone());
        }
        return None;
    }
    let extension = value_of(":file-ext", params)?;
    let text = format!("{folder}{}.{}", name?, extension.text);
    Some(Param { key: ":file".into(), value: Value::Text(text.clone()), text, ..extension })
}

/// Values by key, in the order in which they were put last.
#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Param>>,
    indices: HashMap<String, usize>,
}

impl Slots {
    /// Returns the slot that has become empty, if any.
    fn put(&mut self, key: String, param: Param) -> Option<usize> {
        let old = self.indices.insert(key, self.slots.len());
        self.slots.push(Some(param));
        if let Some(old) = old {
            self.slots[old] = None;
        }
        old
    }
}

/// Variables; one without a name is a value for those already there, in their order.
#[derive(Debug, Default)]
struct Variables {
    slots: Slots,
    /// How many have got a value by position.
    positional: usize,
    /// The slot of the next one to get one, and how many stand before it.
    cursor: usize,
    before: usize,
}

impl Variables {
    fn add(&mut self, param: Param) -> Result<(), (Position, String)> {
        if let Some(name) = variable_name(&param.text) {
            let emptied = self.slots.put(name.to_owned(), param);
            if emptied.is_some_and(|slot| slot < self.cursor) {
                self.before -= 1;
            }
            return Ok(());
        }
        self.seek();
        match self.slots.slots.get_mut(self.cursor) {
            Some(Some(variable)) => {
                let name = variable_name(&variable.text).unwrap_or_default();
                let text = format!("{name}={}", param.text);
                *variable = Param { value: Value::Text(text.clone()), text, ..param };
                self.positional += 1;
                Ok(())
            }
            _ if param.value == Value::None => Ok(()),
            _ => Err((param.at, format!("variable `{0}` has no value: write `:var {0}=VALUE`", param.text))),
        }
    }

    /// Moves the cursor to the variable at position `positional`.
    fn seek(&mut self) {
        while let Some(slot) = self.slots.slots.get(self.cursor) {
            if slot.is_some() {
                if self.before == self.positional {
                    return;
                }
                self.before += 1;
            }
            self.cursor += 1;
        }
    }
}

/// What stands before the equals sign of an assignment.
fn variable_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| c == '=' || " \u{0c}\t\n\r\u{0b}".contains(c))?;
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && rest.trim_start_matches([' ', '\t']).starts_with('=')).then_some(name)
}

/// The words of `:results` or `:exports`.
///
/// Emacs lists the words of each merge last first, and takes the list up again by the next one, so that those
/// before change their order each time: here the list is kept and seen from either end.
#[derive(Debug)]
struct Words {
    groups: &'static [&'static [&'static str]],
    deque: VecDeque<Option<String>>,
    /// Place of each word; the deque's front is `front`.
    indices: HashMap<String, i64>,
    front: i64,
    /// The last word comes first.
    reversed: bool,
    chosen: [Option<String>; 4],
    last: Option<(Position, Origin)>,
}

impl Words {
    fn new(groups: &'static [&'static [&'static str]]) -> Self {
        let chosen = Default::default();
        let (deque, indices) = (VecDeque::new(), HashMap::new());
        Self { groups, deque, indices, front: 0, reversed: false, chosen, last: None }
    }

    fn add(&mut self, param: &Param) {
        self.last = Some((param.at, param.origin));
        self.reversed = !self.reversed;
        for word in
            param.text.split(|c: char| " \u{0c}\t\n\r\u{0b}".contains(c)).filter(|word| !word.is_empty())
        {
            let group = self.groups.iter().position(|group| group.contains(&word));
            let chosen = group.and_then(|group| self.chosen.get_mut(group));
            if let Some(other) = chosen.and_then(|chosen| chosen.replace(word.to_owned())) {
                self.remove(&other);
            }
            self.remove(word);
            self.push(word);
        }
    }

    fn remove(&mut self, word: &str) {
        let Some(index) = self.indices.remove(word) else { return };
        let slot = usize::try_from(index - self.front).ok().and_then(|n| self.deque.get_mut(n));
        if let Some(slot) = slot {
            *slot = None;
        }
    }

    fn push(&mut self, word: &str) {
        let index = if self.reversed {
            self.deque.push_back(Some(word.to_owned()));
            self.front + i64::try_from(self.deque.len()).unwrap_or(i64::MAX) - 1
        } else {
            self.deque.push_front(Some(word.to_owned()));
            self.front -= 1;
            self.front
        };
        self.indices.insert(word.to_owned(), index);
    }

    /// `None` where there are no words.
    fn into_param(self, key: &str) -> Option<Param> {
        let (at, origin) = self.last?;
        let mut words: Vec<String> = self.deque.into_iter().flatten().collect();
        if self.reversed {
            words.reverse();
        }
        let text = words.join(" ");
        (!text.is_empty()).then(|| Param {
            key: key.into(),
            value: Value::Text(text.clone()),
            text,
            lisp: false,
            at,
            origin,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::header_args::{self, HeaderText};
    use super::*;

    fn merged(lines: &[&str]) -> String {
        let read = |line: &&str| {
            header_args::parse(&HeaderText::new(line, Position { line: 1, column: 1 }, Origin::Block))
                .unwrap()
        };
        match merge(lines.iter().flat_map(read), Some("plot")) {
            Ok(params) => {
                params.iter().map(|p| format!("{} {}", p.key, p.text)).collect::<Vec<_>>().join(" | ")
            }
            Err((at, message)) => format!("{}:{} {message}", at.line, at.column),
        }
    }

    #[rstest::rstest]
    #[case::later_wins(&[":cpu 1 :mem 10", ":cpu 2"], ":cpu 2 | :mem 10")]
    #[case::groups(&[":results output raw replace", ":results value silent"], ":results silent value raw")]
    #[case::groups_thrice(&[":results a b", ":results c d", ":results e"], ":results e b a c d")]
    #[case::words_again(&[":results a b", ":results b c"], ":results c b a")]
    #[case::exports(&[":exports code", ":exports both", ":exports"], ":exports both")]
    #[case::variables(&[":var a=1 b=2 :var a=3 :var c=\"x y\""], ":var b=2 | :var a=3 | :var c=\"x y\"")]
    #[case::positional(&[":var a=1 b=2", ":var 7 8 :cpu 1"], ":var a=7 | :var b=8 | :cpu 1")]
    #[case::positional_after_removal(&[":var a=1 b=2 c=3", ":var 7", ":var a=0 9"], ":var b=2 | :var c=9 | :var a=0")]
    #[case::no_value(&[":var a"], "1:1 variable `a` has no value: write `:var a=VALUE`")]
    #[case::no_variable(&[":var :cpu 1"], ":cpu 1")]
    #[case::results_alone(&[":results"], "1:1 `:results` needs a value: write e.g. `:results output`")]
    #[case::file(&[":file-ext png :output-dir out"], ":file out/plot.png | :output-dir out | :file-ext png")]
    #[case::file_in_folder(&[":file a.png :output-dir out/"], ":output-dir out/ | :file out/a.png")]
    #[case::attach(&[":dir 'attach"], "1:1 `:dir 'attach` names a directory only Emacs knows: write the directory itself")]
    fn arguments_are_merged(#[case] lines: &[&str], #[case] expected: &str) {
        assert_eq!(merged(lines), expected);
    }
}
