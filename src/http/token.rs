//! The server's token and the file that stores it.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The secret. It appears only in its file and in the cookie of a browser.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The hash of the token, with which tokens of requests are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the token file `{path}` cannot be read: {error}")]
    Unreadable {
        /// Its path.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be made.
    #[error("the token file `{path}` cannot be made: {error}")]
    CannotCreate {
        /// Its path.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// It is a directory, a device, or the like.
    #[error("the token file `{path}` is no file; name another one by `#+borges_token_file:`")]
    NotAFile {
        /// Its path.
        path: String,
    },
    /// Other users may read or change it.
    #[error(
        "the token file `{path}` is open to other users (mode {mode:04o}); run `chmod 600 {path}`, and write a new token if they may have read this one"
    )]
    InsecureMode {
        /// Its path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Another user owns it, and so knows the token.
    #[error("the token file `{path}` belongs to user {owner}; it must belong to the user who runs borges")]
    WrongOwner {
        /// Its path.
        path: String,
        /// Who owns it.
        owner: u32,
    },
    /// Its content is no token.
    #[error(
        "the token file `{path}` holds no token: write 16 to 1024 letters, digits or `-._~+/=` on one line, or remove it and a new one is made"
    )]
    Malformed {
        /// Its path.
        path: String,
    },
}

/// The number of random bytes in a created token.
const RANDOM_BYTES: usize = 32;

/// The accepted lengths of a token, bytes.
const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;

impl Token {
    /// Reads the token from its file, or creates both at the first start. `user` is the user of this process.
    ///
    /// The file is created atomically, and processes that start at the same time share one token.
    ///
    /// # Errors
    /// [`TokenError`]. A file that other users may read is refused and not repaired, because they may have read it.
    pub fn load_or_create(path: &Path, user: u32) -> Result<Self, TokenError> {
        match Self::read(path, user) {
            Err(TokenError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        match Self::create(path) {
            Ok(token) => Ok(token),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(path, user),
            Err(error) => Err(TokenError::CannotCreate { path: display(path), error }),
        }
    }

    /// The secret, for the cookie of an authenticated browser.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The hash of the token.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    fn read(path: &Path, user: u32) -> Result<Self, TokenError> {
        let unreadable = |error| TokenError::Unreadable { path: display(path), error };
        // Non-blocking, because opening a FIFO would otherwise wait for a writer.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(TokenError::NotAFile { path: display(path) });
        }
        if metadata.uid() != user && metadata.uid() != 0 {
            return Err(TokenError::WrongOwner { path: display(path), owner: metadata.uid() });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(TokenError::InsecureMode { path: display(path), mode: metadata.mode() & 0o7777 });
        }
        let mut content = Vec::new();
        file.take(2 * *TOKEN_LENGTHS.end() as u64).read_to_end(&mut content).map_err(unreadable)?;
        let token = str::from_utf8(&content).map(str::trim).unwrap_or_default();
        // The characters that `Authorization: Bearer` and a cookie carry unencoded (`token68` of RFC 9110).
        let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if TOKEN_LENGTHS.contains(&token.len()) && token.bytes().all(is_token_byte) {
            Ok(Self(token.to_owned()))
        } else {
            Err(TokenError::Malformed { path: display(path) })
        }
    }

    fn create(path: &Path) -> io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes)?;
        let token = hexadecimal(&bytes);
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
        writeln!(file, "{token}")?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()?;
        Ok(Self(token))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether this is the hash of `candidate`. Takes constant time.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.ct_eq(&Self::of(candidate).0).into()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|it| char::from_digit(it.into(), 16))
        .collect()
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rstest::rstest;

    use super::*;

    /// A temporary directory, a path in it, and the current user.
    fn token_path() -> (tempfile::TempDir, PathBuf, u32) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let user = fs::metadata(directory.path()).unwrap().uid();
        (directory, path, user)
    }

    fn write_token(path: &Path, content: &str, mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path, user: u32) -> String {
        let error = Token::load_or_create(path, user).unwrap_err().to_string();
        error.replace(&display(path), "PATH")
    }

    #[test]
    fn tokens_are_created_once() {
        let (directory, _, user) = token_path();
        let path = directory.path().join("state/deep/token");
        let token = Token::load_or_create(&path, user).unwrap();
        assert_eq!(token.secret().len(), 2 * RANDOM_BYTES);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", token.secret()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(Token::load_or_create(&path, user).unwrap(), token);
        assert_ne!(Token::load_or_create(&directory.path().join("other"), user).unwrap(), token);
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn concurrent_starts_share_one_token() {
        let (_directory, path, user) = token_path();
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Token::load_or_create(&path, user).unwrap().0)
            })
            .collect();
        let mut tokens: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        tokens.dedup();
        assert_eq!(tokens.len(), 1);
    }

    #[rstest]
    #[case(0o640)]
    #[case(0o604)]
    #[case(0o620)]
    #[case(0o644)]
    fn files_open_to_other_users_are_refused(#[case] mode: u32) {
        let (_directory, path, user) = token_path();
        write_token(&path, "0123456789abcdef\n", mode);
        assert_eq!(
            refusal(&path, user),
            format!(
                "the token file `PATH` is open to other users (mode {mode:04o}); run `chmod 600 PATH`, and write a \
                 new token if they may have read this one"
            )
        );
    }

    #[test]
    fn files_of_another_user_are_refused() {
        let (_directory, path, user) = token_path();
        write_token(&path, "0123456789abcdef\n", 0o600);
        // Files of root are always accepted, so a test that runs as root changes the owner first.
        let owner = if user == 0 { 12345 } else { user };
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        assert_eq!(
            refusal(&path, owner + 1),
            format!(
                "the token file `PATH` belongs to user {owner}; it must belong to the user who runs borges"
            )
        );
        assert!(Token::load_or_create(&path, owner).is_ok());
    }

    #[rstest]
    #[case::by_openssl("2+0Zx/qP0rGzVnBvYl9J4aV7k1nUo0cQ0r1o3v1m8hE=\n", true)]
    #[case::long(&"x".repeat(1024), true)]
    #[case::too_long(&"x".repeat(1025), false)]
    #[case::far_too_long(&"x".repeat(100_000), false)]
    #[case::short("123456789abcdef", false)]
    #[case::two_lines("0123456789abcdef\n0123456789abcdef\n", false)]
    #[case::with_a_semicolon("0123456789abcdef;", false)]
    #[case::empty("", false)]
    fn token_files_are_validated(#[case] content: &str, #[case] is_valid: bool) {
        let (_directory, path, user) = token_path();
        write_token(&path, content, 0o600);
        if is_valid {
            assert_eq!(Token::load_or_create(&path, user).unwrap().secret(), content.trim());
        } else {
            assert_eq!(
                refusal(&path, user),
                "the token file `PATH` holds no token: write 16 to 1024 letters, digits or `-._~+/=` on one line, \
                 or remove it and a new one is made"
            );
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let (directory, path, user) = token_path();
        let not_a_file = "the token file `PATH` is no file; name another one by `#+borges_token_file:`";
        assert_eq!(refusal(directory.path(), user), not_a_file);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(refusal(&path, user), not_a_file);
        write_token(&directory.path().join("file"), "", 0o600);
        let below = directory.path().join("file/token");
        assert!(refusal(&below, user).starts_with("the token file `PATH` cannot be read: Not a directory"));
    }

    #[test]
    fn tokens_are_compared_by_hash() {
        let hash = TokenHash::of("0123456789abcdef");
        assert!(hash.matches("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF"] {
            assert!(!hash.matches(wrong), "{wrong}");
        }
        // FIPS 180-4\'s own example.
        assert_eq!(
            hexadecimal(&TokenHash::of("abc").0),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
