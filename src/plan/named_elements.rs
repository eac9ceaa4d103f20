//! The named elements of a document other than blocks: calls, tables, lists, texts.

use std::collections::HashMap;

use borges_babel::{self as babel, Value};
use borges_org::{Document, Element};

/// The named elements of a document that are no blocks.
#[derive(Debug)]
pub(super) struct NamedElements {
    /// The first of each name: its number in the document's tree, and, of a call, its number among the calls.
    elements: HashMap<String, (usize, Option<usize>)>,
    /// What calls are named, by their number.
    calls: HashMap<usize, String>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NamedElement {
    /// A call, by its number.
    Call(usize),
    /// An element that holds a value.
    Value(Value),
}

impl NamedElements {
    /// Those of `document`.
    pub(super) fn of(document: &Document) -> Self {
        let tree = &document.tree;
        let mut elements = HashMap::new();
        let mut names_of_calls = HashMap::new();
        let mut calls = 0;
        for (node_index, node) in tree.nodes().iter().enumerate() {
            let call = (node.element == Element::Call).then_some(calls);
            calls += usize::from(call.is_some());
            if node.element == Element::Source {
                continue;
            }
            let affiliated = tree.affiliated(node_index);
            if affiliated.is_empty() {
                continue;
            }
            if let Some(name) = name(affiliated) {
                if let Some(call) = call {
                    names_of_calls.insert(call, name.clone());
                }
                elements.entry(name).or_insert((node_index, call));
            }
        }
        Self { elements, calls: names_of_calls }
    }

    /// What `name` stands for in `document`, whose names these are.
    pub(super) fn find(&self, document: &Document, name: &str) -> Option<NamedElement> {
        match *self.elements.get(name)? {
            (_, Some(call)) => Some(NamedElement::Call(call)),
            (node, None) => babel::element(document, node).map(NamedElement::Value),
        }
    }

    /// What a call is named.
    pub(super) fn name_of_call(&self, call: usize) -> Option<&str> {
        self.calls.get(&call).map(String::as_str)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.elements.keys().map(String::as_str)
    }
}

/// The value of the element of `document` that is called `name`.
pub(super) fn value(document: &Document, name: &str) -> Option<Value> {
    match NamedElements::of(document).find(document, name)? {
        NamedElement::Value(value) => Some(value),
        NamedElement::Call(_) => None,
    }
}

/// What the last `#+name:` among affiliated keywords says.
fn name(affiliated: &[u8]) -> Option<String> {
    let text = babel::byte_text::decode(affiliated);
    text.lines().rev().find_map(|line| {
        let (key, value) = line.trim_start().strip_prefix("#+")?.split_once(':')?;
        let value = value.trim();
        (key.eq_ignore_ascii_case("name") && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use borges_org as org;

    #[test]
    fn elements_are_found_by_name() {
        let source = "#+name: t\n| 1 | 2 |\n\n#+name: b\n#+begin_src sh\n#+end_src\n\n#+call: b()\n\n\
                      #+NAME: c d\n#+call: b()\n\n#+name: t\n: second\n\n#+name: head\n* Head\n";
        let document = org::parse(source.as_bytes(), &[]);
        let elements = NamedElements::of(&document);
        let table = elements.find(&document, "t");
        assert!(matches!(table, Some(NamedElement::Value(value)) if value.prin1() == "((1 2))"));
        assert_eq!(elements.find(&document, "c d"), Some(NamedElement::Call(1)));
        assert_eq!(elements.name_of_call(1), Some("c d"));
        assert_eq!((elements.find(&document, "b"), elements.find(&document, "T")), (None, None));
    }
}
