//! The bytes of a document. They are shared by everything that is cut from them.

use bytes::Bytes;

/// A document as it was read from somewhere. What is [`Bytes`] already is not copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceBytes(pub(super) Bytes);

impl From<SourceBytes> for Bytes {
    fn from(SourceBytes(bytes): SourceBytes) -> Self {
        bytes
    }
}

impl From<Bytes> for SourceBytes {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&Bytes> for SourceBytes {
    fn from(bytes: &Bytes) -> Self {
        Self(bytes.clone())
    }
}

impl From<Vec<u8>> for SourceBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&Vec<u8>> for SourceBytes {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&[u8]> for SourceBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for SourceBytes {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}
