//! Signs the download addresses of launches' files: a signature is valid for one file of one launch.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::LaunchId;

/// Signs the addresses of launches' files (HMAC with SHA-256).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UrlSigner([u8; BLOCK]);

/// What SHA-256 works on at once, bytes.
const BLOCK: usize = 64;

impl UrlSigner {
    /// Made of a secret of any length; the secret cannot be had from it, nor from what it signs.
    pub fn new(secret: &[u8]) -> Self {
        let mut key = [0; BLOCK];
        key[..32]
            .copy_from_slice(&Sha256::new().chain_update("borges files\0").chain_update(secret).finalize());
        Self(key)
    }

    /// The signature of the file with this number in the payload of `launch`, in hexadecimal digits.
    pub fn sign(&self, launch: LaunchId, file: usize) -> String {
        let padded = |pad: u8| self.0.map(|byte| byte ^ pad);
        let inner =
            Sha256::new().chain_update(padded(0x36)).chain_update(format!("{launch}/{file}")).finalize();
        let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
        outer.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `signature` is that of this file. Takes the same time for every wrong one.
    pub fn verify(&self, launch: LaunchId, file: usize, signature: &str) -> bool {
        self.sign(launch, file).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlSigner")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::RunId;

    #[test]
    fn signature_verifies_exactly_one_file() {
        let signer = UrlSigner::new(b"secret");
        let launch = RunId(Uuid::from_u128(7)).task(1).launch(2);
        let signature = signer.sign(launch, 0);
        assert_eq!(signature.len(), 64);
        assert!(signer.verify(launch, 0, &signature));
        assert!(
            !signer.verify(launch, 1, &signature) && !signer.verify(launch.task.launch(3), 0, &signature)
        );
        assert!(!UrlSigner::new(b"other").verify(launch, 0, &signature) && !signer.verify(launch, 0, ""));
    }
}
