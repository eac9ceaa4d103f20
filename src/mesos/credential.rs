//! The principal and secret that identify Borges to masters and agents.

use std::fmt;
use std::fs;
use std::path::Path;

/// A principal and its secret; shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The principal.
    pub principal: String,
    secret: String,
}

impl Credential {
    /// With the secret that the file `path` holds; a newline at its end is not part of it.
    ///
    /// # Errors
    /// Words that name the key of the setupfile.
    pub fn read(principal: &str, path: &Path) -> Result<Self, String> {
        let invalid = |why: String| format!("`borges_secret_file` is `{}`, {why}", path.display());
        let text =
            fs::read_to_string(path).map_err(|error| invalid(format!("which cannot be read: {error}")))?;
        let secret = text.trim_end_matches(['\n', '\r']);
        if secret.is_empty() || secret.contains(['\n', '\r', '\0']) {
            return Err(invalid("which holds no secret: write it there on one line".to_owned()));
        }
        if principal.contains(':') {
            return Err(format!("`borges_principal` is `{principal}`: no name with a colon can be sent"));
        }
        Ok(Self { principal: principal.to_owned(), secret: secret.to_owned() })
    }

    /// The secret, to be sent.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_read_from_a_file_of_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            Credential::read("me", &path)
        };
        assert_eq!(read("a secret\n").unwrap().secret(), "a secret");
        assert_eq!(format!("{:?}", read("a secret").unwrap()), r#"Credential { principal: "me", .. }"#);
        assert!(read("\n").is_err() && read("a\nb").is_err());
        assert!(Credential::read("a:b", &path).is_err());
        assert!(
            Credential::read("me", &directory.path().join("none")).unwrap_err().contains("cannot be read")
        );
    }
}
