//! `<<name>>` and `<<name(arguments)>>`: where they stand in a line, and what they say.

use memchr::{memchr, memmem};

use super::document::Position;
use super::text::is_blank;

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
    fn calls_have_a_name_and_arguments() {
        assert_eq!(NowebCall::read("a(x=1, y=b(2))"), Some(("a", "x=1, y=b(2)")));
        assert_eq!(NowebCall::read("a[:dir /](x)"), Some(("a", "x")));
        assert_eq!(NowebCall::read("a"), None);
        assert_eq!(NowebCall::read("a)("), None);
    }
}
