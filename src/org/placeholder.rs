//! Placeholders in code: `<<name()>>` is replaced by the result of a block, which is inserted before the code runs.
//!
//! A placeholder is written into the code itself, so that it survives when the code is inserted into other code. It
//! begins and ends with a byte that never occurs in UTF-8, and code that runs is UTF-8.

/// A place in code where a result is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// Which reference it stands for.
    pub(super) number: usize,
    /// What stands before it on its line is repeated before each line of the result.
    prefixed: bool,
    /// Its bytes in the code.
    start: usize,
    end: usize,
}

const MARK: u8 = 0xfe;

/// Writes a placeholder.
pub(super) fn write(number: usize, prefixed: bool, out: &mut Vec<u8>) {
    out.push(MARK);
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(if prefixed { b"p" } else { b"n" });
    out.push(MARK);
}

/// The placeholders in `code`, in order.
pub(super) fn placeholders(code: &[u8]) -> impl Iterator<Item = Placeholder> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr::memchr(MARK, code.get(at..)?)?;
            let end = start + 1 + memchr::memchr(MARK, code.get(start + 1..)?)? + 1;
            at = end;
            let inner = &code[start + 1..end - 1];
            let Some((kind, number)) = inner.split_last() else { continue };
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            if let (Some(number), b'p' | b'n') = (number, kind) {
                return Some(Placeholder { number, prefixed: *kind == b'p', start, end });
            }
        }
    })
}

/// `code` with its placeholders replaced by `results`, in order; a placeholder without a result becomes empty.
pub fn fill(code: &[u8], results: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(code.len());
    let mut from = 0;
    let mut results = results.iter();
    for placeholder in placeholders(code) {
        let before = &code[from..placeholder.start];
        let prefix = before.rsplit(|&b| b == b'\n').next().unwrap_or_default();
        out.extend_from_slice(before);
        from = placeholder.end;
        let Some(result) = results.next() else { continue };
        for (n, line) in result.split(|&b| b == b'\n' || b == b'\r').enumerate() {
            if n > 0 {
                out.push(b'\n');
                out.extend_from_slice(if placeholder.prefixed { prefix } else { b"" });
            }
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(&code[from..]);
    out
}

/// `code` without its placeholders.
pub(super) fn without(code: &[u8]) -> Vec<u8> {
    fill(code, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_replace_placeholders() {
        let mut code = b"x\n> ".to_vec();
        write(0, true, &mut code);
        code.extend_from_slice(b" - ");
        write(7, true, &mut code);
        code.extend_from_slice(b"\n# ");
        write(2, false, &mut code);
        assert_eq!(placeholders(&code).map(|placeholder| placeholder.number).collect::<Vec<_>>(), [0, 7, 2]);
        let filled = fill(&code, &[b"a\nb".to_vec(), b"c".to_vec(), b"d\ne".to_vec()]);
        assert_eq!(String::from_utf8_lossy(&filled), "x\n> a\n> b - c\n# d\ne");
        assert_eq!(without(&code), b"x\n>  - \n# ");
        assert_eq!(without(b"\xfe1x\xfe \xfe"), b"\xfe1x\xfe \xfe");
    }
}
