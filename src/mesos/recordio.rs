//! RecordIO: a stream of records, each with its length in ASCII digits, a newline, and that many bytes.
//!
//! Chunk boundaries on the wire have no meaning. Source: Mesos, "RecordIO Data Format".

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// The most bytes a record may have where the caller knows no better: 64 MiB.
///
/// The largest honest records are offers of a whole cluster (some 6 MiB for 10,000 agents) and launches with
/// their bodies.
pub const MAX_RECORD_LEN: usize = 64 << 20;

/// More digits than this are no length.
const MAX_DIGITS: usize = 19;

/// Why a stream is no RecordIO. After one of these nothing of the stream can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Something else than a digit stands where a length belongs.
    #[error("a record's length has the byte `{}` in it", .0.escape_ascii())]
    NotALength(u8),
    /// A length of nought, or one with more digits than any length has.
    #[error("a record's length is empty, nought or absurdly long")]
    BadLength,
    /// A record longer than the reader is ready to hold.
    #[error("a record of {length} bytes; at most {limit} are taken")]
    TooLong {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Takes chunks, yields records.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// The length of the record whose bytes come next, once it is known.
    length: Option<usize>,
    limit: usize,
    failed: Option<RecordError>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_RECORD_LEN)
    }
}

impl Decoder {
    /// A decoder that refuses records of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), length: None, limit, failed: None }
    }

    /// Adds what arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Where a reader may append what arrives, without a copy; it must take nothing out.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole record, or `None` until more has arrived. An error is repeated for ever.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.step().inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn step(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.take_length()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            self.buffer.reserve(length - self.buffer.len());
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn take_length(&mut self) -> Result<Option<usize>, RecordError> {
        let mut length: usize = 0;
        for (at, &byte) in self.buffer.iter().enumerate() {
            match byte {
                b'\n' if length == 0 => return Err(RecordError::BadLength),
                b'\n' => {
                    if length > self.limit {
                        return Err(RecordError::TooLong { length, limit: self.limit });
                    }
                    self.buffer.advance(at + 1);
                    return Ok(Some(length));
                }
                b'0'..=b'9' if at < MAX_DIGITS => {
                    length = length.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
                }
                b'0'..=b'9' => return Err(RecordError::BadLength),
                other => return Err(RecordError::NotALength(other)),
            }
        }
        Ok(None)
    }

    /// Bytes of a record that has begun and not ended: anything but nought at the stream's end means that it
    /// was cut.
    pub fn pending_len(&self) -> usize {
        self.buffer.len() + usize::from(self.length.is_some())
    }
}

/// Appends `record` as one record.
pub fn encode(record: &[u8], out: &mut BytesMut) {
    push_length(record.len(), out);
    out.extend_from_slice(record);
}

/// Appends `message` as one record, without a buffer between.
pub fn encode_message(message: &impl Message, out: &mut BytesMut) {
    let length = message.encoded_len();
    out.reserve(length + MAX_DIGITS + 1);
    push_length(length, out);
    message.encode_raw(out);
}

fn push_length(length: usize, out: &mut BytesMut) {
    let mut digits = [0; MAX_DIGITS + 1];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(decoder: &mut Decoder) -> Result<Vec<Bytes>, RecordError> {
        let mut records = Vec::new();
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn records_are_encoded_as_length_newline_bytes() {
        let mut out = BytesMut::new();
        encode(b"hello", &mut out);
        encode(&[7; 120], &mut out);
        assert_eq!(&out[..7], b"5\nhello");
        assert_eq!(&out[7..11], b"120\n");
    }

    #[test]
    fn invalid_lengths_fail_permanently() {
        let error_text = |text: &[u8]| {
            let mut decoder = Decoder::new(1000);
            decoder.push(text);
            let error = drain(&mut decoder).unwrap_err();
            decoder.push(b"2\nok");
            assert_eq!(decoder.next_record(), Err(error.clone()));
            error.to_string()
        };
        insta::assert_snapshot!(error_text(b"HTTP/1.1"), @"a record's length has the byte `H` in it");
        insta::assert_snapshot!(error_text(b"-1\n"), @"a record's length has the byte `-` in it");
        insta::assert_snapshot!(error_text(b"0\n"), @"a record's length is empty, nought or absurdly long");
        insta::assert_snapshot!(error_text(b"\n"), @"a record's length is empty, nought or absurdly long");
        insta::assert_snapshot!(error_text(&[b'1'; 30]), @"a record's length is empty, nought or absurdly long");
        insta::assert_snapshot!(error_text(b"1001\n"), @"a record of 1001 bytes; at most 1000 are taken");
        insta::assert_snapshot!(
            error_text(b"9999999999999999999\n"),
            @"a record of 9999999999999999999 bytes; at most 1000 are taken"
        );
    }

    #[test]
    fn truncated_stream_leaves_pending_bytes() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.pending_len(), 0);
        for (chunk, pending) in [("3", 1), ("\n", 1), ("ab", 3), ("c", 0)] {
            decoder.push(chunk.as_bytes());
            let _ = decoder.next_record().unwrap();
            assert_eq!(decoder.pending_len(), pending, "after {chunk:?}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_records(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20),
            sizes in prop::collection::vec(1_usize..50, 1..50),
        ) {
            let mut stream = BytesMut::new();
            for record in &records {
                encode(record, &mut stream);
            }
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for size in sizes.iter().cycle() {
                if stream.is_empty() {
                    break;
                }
                decoder.push(&stream.split_to((*size).min(stream.len())));
                seen.extend(drain(&mut decoder)?);
            }
            prop_assert_eq!(seen, records);
            prop_assert_eq!(decoder.pending_len(), 0);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let _ = drain(&mut decoder);
        }
    }
}
