//! The syntax of noweb references, `<<name>>` and `<<name(arguments)>>`: where they stand in a line, and the names by
//! which a block is found.

use memchr::{memchr, memmem, memrchr};

use super::document::Position;
use super::lines::indentation;
use super::text::{Text, decode, is_blank, is_whitespace};

/// `<<name(arguments)>>` in a body: it stands for the result of a block, which has to run first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NowebCall {
    /// The block that is called.
    pub name: String,
    /// Its variables, as written.
    pub arguments: String,
    /// Where the reference stands.
    pub at: Position,
}

impl NowebCall {
    /// The call that `id`, between the brackets of a reference, is: its name and its arguments.
    pub(super) fn read(id: &str) -> Option<(&str, &str)> {
        let open = id.find('(')?;
        let close = open + id[open..].rfind(')')?;
        let name = id[..open].split('[').next().unwrap_or_default();
        Some((name.trim(), &id[open + 1..close]))
    }
}

/// The names by which references find the block that begins at byte `begin`, in small letters.
///
/// Each `#+name:` counts that only keywords part from the block, whatever they say: Emacs looks for the name, and then
/// for the block below it. So more names may be found than the block itself has.
pub(super) fn names_above(text: &Text<'_>, begin: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut above = text.bytes.get(..begin).unwrap_or_default();
    while let Some(before) = above.strip_suffix(b"\n") {
        let start = memrchr(b'\n', before).map_or(0, |end| end + 1);
        let line = text.without_cr(&before[start..]);
        let Some(keyword) = line[indentation(line).0..].strip_prefix(b"#+") else { break };
        let keyword = decode(keyword);
        let word = keyword.split(is_whitespace).next().unwrap_or_default();
        if !word.get(1..).is_some_and(|word| word.contains(':')) {
            break;
        }
        if word.get(..5).is_some_and(|key| key.eq_ignore_ascii_case("name:")) {
            names.push(keyword[5..].trim_matches([' ', '\t']).to_lowercase());
        }
        above = &before[..start];
    }
    names
}

/// The first reference of a line from byte `from` on: where it begins and ends.
pub(super) fn reference(line: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        at += memmem::find(line.get(at..)?, b"<<")?;
        if line.get(at + 2).is_some_and(|&b| !is_blank(b)) {
            break;
        }
        at += 1;
    }
    // If nothing closes this one, nothing closes one that opens later.
    let mut end = at + 3;
    loop {
        end += memchr(b'>', line.get(end..)?)?;
        if line.get(end + 1) == Some(&b'>') && !is_blank(line[end - 1]) {
            return Some((at, end + 2));
        }
        end += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_above_a_block_are_found() {
        let names =
            |above: &str| names_above(&Text::new(format!("{above}#+begin_src\r\n").as_bytes()), above.len());
        assert_eq!(names("#+name: a\r\n  #+NAME:\tB c \r\n"), ["b c", "a"]);
        // Where lines do not end so, it is a part of the name.
        assert_eq!(names("#+name: a\n#+name: b\r\n"), ["b\r", "a"]);
        assert_eq!(names("#+name: a\n#+title: x\n#+begin: y\n#+results[0a]: z\n"), ["a"]);
        for between in ["", "text", "# comment", "#+foo", "#+: a", "#+foo bar: x", "* head", "#+end_src"] {
            assert!(names(&format!("#+name: a\n{between}\n")).is_empty(), "{between}");
        }
        assert!(names("#+srcname: a\n").is_empty());
    }

    #[test]
    fn calls_have_a_name_and_arguments() {
        assert_eq!(NowebCall::read("a(x=1, y=b(2))"), Some(("a", "x=1, y=b(2)")));
        assert_eq!(NowebCall::read("a[:dir /](x)"), Some(("a", "x")));
        assert_eq!(NowebCall::read("a"), None);
        assert_eq!(NowebCall::read("a)("), None);
    }
}
