//! Decodes bytes as characters and encodes them again, without loss.
//!
//! Emacs keeps a byte that is not UTF-8 as a character of its own, and writes it as that byte. Here the last 128 code
//! points of Unicode, which texts do not use, stand for these bytes. Such a code point in a text is treated as its
//! bytes.

/// The character for the byte 0x80.
const FIRST_CHARACTER: u32 = 0x10_ff80;

/// Characters for bytes, whatever they are.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if u32::from(c) < FIRST_CHARACTER {
                text.push(c);
            } else {
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(character_of));
            }
        }
        text.extend(chunk.invalid().iter().copied().map(character_of));
    }
    text
}

/// The bytes that [`decode`] made characters of.
pub fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte that a character stands for, if it stands for one that is no UTF-8.
pub(super) fn byte(c: char) -> Option<u8> {
    u32::from(c).checked_sub(FIRST_CHARACTER).and_then(|n| u8::try_from(n + 0x80).ok())
}

fn character_of(byte: u8) -> char {
    u32::from(byte)
        .checked_sub(0x80)
        .and_then(|n| char::from_u32(FIRST_CHARACTER + n))
        .unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_survive_a_round_trip() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&b"a\xffb\xc3\xa9"[..], &all, "\u{10ff80}\u{10ffff}\u{10fffd}".as_bytes(), b"\xf4\x8f"]
        {
            assert_eq!(encode(&decode(bytes)), bytes);
        }
        assert_eq!(byte(decode(b"\xff").chars().next().unwrap()), Some(0xff));
        assert_eq!(byte('é'), None);
    }
}
