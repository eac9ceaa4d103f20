//! Parses the reference of a `:var`, `:stdin`, `:post` or argument of a call, as `org-babel-ref-resolve` does.

use borges_org::split_arguments;

/// `file:name[inside_header](arguments)[index]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// What is referred to: the name of a block, a call, a table, a list, a text; or `FILE:NAME`.
    pub name: &'a str,
    /// Header arguments for a block that is called.
    pub inside_header: Option<&'a str>,
    /// Arguments of a call, `name=value` or `value`; empty where nothing is called, or nothing given.
    pub arguments: Vec<&'a str>,
    /// The part that is wanted, see [`super::index()`].
    pub index: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Reads one.
    pub fn read(text: &'a str) -> Self {
        let (text, index) = split_index(text.trim());
        let Some((head, arguments)) = text.strip_suffix(')').and_then(split_call) else {
            return Self { name: text, inside_header: None, arguments: Vec::new(), index };
        };
        let (name, inside_header) = match head.strip_suffix(']').and_then(|head| head.split_once('[')) {
            Some((name, inside_header)) if !name.is_empty() => {
                (name, Some(inside_header).filter(|text| !text.is_empty()))
            }
            _ => (head, None),
        };
        Self { name, inside_header, arguments: split_arguments(arguments), index }
    }

    /// The file and the name in it, where it may be one of another file.
    pub fn of_file(&self) -> Option<(&'a str, &'a str)> {
        self.name.rsplit_once(':').filter(|(file, name)| !file.is_empty() && !name.is_empty())
    }
}

/// A reference without the brackets at its end, and what stands in them.
fn split_index(text: &str) -> (&str, Option<&str>) {
    let Some(inner) = text.strip_suffix(']') else { return (text, None) };
    match inner.rfind('[') {
        Some(open) if open > 0 => (&text[..open], Some(&inner[open + 1..])),
        _ => (text, None),
    }
}

/// What stands before the first round bracket that a name, or square brackets behind it, goes before; and what behind.
fn split_call(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '(' if depth == 0 && at > 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("t", "t", None, &[], None)]
    #[case("t[1,2]", "t", None, &[], Some("1,2"))]
    #[case("e[]", "e", None, &[], Some(""))]
    #[case("f()", "f", None, &[], None)]
    #[case("f(a=1, b=g(x=2))[0]", "f", None, &["a=1", "b=g(x=2)"], Some("0"))]
    #[case("f[:results output](7)", "f", Some(":results output"), &["7"], None)]
    #[case("f[:var a=(1)]()[,0]", "f", Some(":var a=(1)"), &[], Some(",0"))]
    #[case("a.org:b(x=t[1])", "a.org:b", None, &["x=t[1]"], None)]
    #[case("(f", "(f", None, &[], None)]
    fn references_are_read(
        #[case] text: &str,
        #[case] name: &str,
        #[case] inside_header: Option<&str>,
        #[case] arguments: &[&str],
        #[case] index: Option<&str>,
    ) {
        let arguments = arguments.to_vec();
        assert_eq!(Reference::read(text), Reference { name, inside_header, arguments, index });
    }

    #[test]
    fn references_to_other_files_are_split() {
        assert_eq!(Reference::read("../a.org:t[0]").of_file(), Some(("../a.org", "t")));
        assert_eq!(Reference::read("t").of_file(), None);
        assert_eq!(Reference::read(":t").of_file(), None);
    }
}
