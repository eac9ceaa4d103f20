//! Finds the closing bracket of each bracket. Only brackets of the same kind count; quotes have no meaning.

/// Finds which bracket closes which, in one pass over the text, at the first question.
#[derive(Debug)]
pub(super) struct Brackets<'a> {
    bytes: &'a [u8],
    /// Round, square, curly: where each opens and closes, in ascending order.
    pairs: [Option<Vec<(usize, usize)>>; 3],
}

const KINDS: [(u8, u8); 3] = [(b'(', b')'), (b'[', b']'), (b'{', b'}')];

impl<'a> Brackets<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pairs: [None, None, None] }
    }

    /// What stands between the bracket `open` at byte `at` and the one that closes it, and where it goes on
    /// after that; `None` where there is no such bracket, or nothing closes it.
    pub(super) fn contents(&mut self, open: u8, at: usize) -> Option<(&'a [u8], usize)> {
        if self.bytes.get(at) != Some(&open) {
            return None;
        }
        let kind = KINDS.iter().position(|&(other, _)| other == open)?;
        let pairs = self.pairs[kind].get_or_insert_with(|| pairs(self.bytes, KINDS[kind]));
        let place = pairs.binary_search_by_key(&at, |&(open, _)| open).ok()?;
        let close = pairs[place].1;
        Some((&self.bytes[at + 1..close], close + 1))
    }
}

fn pairs(bytes: &[u8], (opening, closing): (u8, u8)) -> Vec<(usize, usize)> {
    let mut open = Vec::new();
    let mut pairs = Vec::new();
    for at in memchr::memchr2_iter(opening, closing, bytes) {
        if bytes[at] == opening {
            open.push(at);
        } else if let Some(start) = open.pop() {
            pairs.push((start, at));
        }
    }
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_paired() {
        let text = b"(a(b)[c)](d";
        let mut brackets = Brackets::new(text);
        assert_eq!(brackets.contents(b'(', 0), Some((&b"a(b)[c"[..], 8)));
        assert_eq!(brackets.contents(b'(', 2), Some((&b"b"[..], 5)));
        assert_eq!(brackets.contents(b'[', 5), Some((&b"c)"[..], 9)));
        assert_eq!(brackets.contents(b'(', 9), None);
        assert_eq!(brackets.contents(b'{', 0), None);
        assert_eq!(brackets.contents(b'(', 99), None);
    }
}
