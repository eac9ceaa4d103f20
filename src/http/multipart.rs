//! Extracts the only file of a multipart form (RFC 7578) that is in memory. Pure.

use memchr::memmem;
use thiserror::Error;

/// Why a form does not have exactly one file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum MultipartError {
    /// The content type does not say what separates the parts.
    #[error("this form's content type names no `boundary`")]
    NoBoundary,
    /// The text ends before the form does.
    #[error("this form is cut off: its last boundary is missing")]
    Truncated,
    /// A part has no line between its headers and its content.
    #[error("this form cannot be read: a part has no empty line behind its headers")]
    MissingHeaders,
    /// There is none.
    #[error("this form has no file: `-F file=@FILE` sends one")]
    NoFile,
    /// There are several.
    #[error("this form has {files} files: send one document at a time")]
    ManyFiles {
        /// How many.
        files: usize,
    },
    /// The file is base64, or the like.
    #[error("this form's file is sent as `{encoding}`: send it as it is, without an encoder")]
    UnsupportedEncoding {
        /// What `Content-Transfer-Encoding` says.
        encoding: String,
    },
}

/// What separates the parts, by a content type of `multipart/form-data`; `None` for other types.
pub(super) fn boundary(content_type: &str) -> Option<Result<String, MultipartError>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    kind.trim().eq_ignore_ascii_case("multipart/form-data").then(|| {
        let boundary = parameter(parameters, "boundary");
        boundary.filter(|it| !it.is_empty() && !it.contains(['\r', '\n'])).ok_or(MultipartError::NoBoundary)
    })
}

/// The content of the one part that is a file.
pub(super) fn single_file<'a>(boundary: &str, body: &'a [u8]) -> Result<&'a [u8], MultipartError> {
    let mut files = 0;
    let mut found = None;
    each_part(boundary, body, |part| {
        let (headers, content) = split_part(part).ok_or(MultipartError::MissingHeaders)?;
        let name = header(headers, "content-disposition").and_then(|it| file_name(&it));
        // A browser sends an empty name for a field in which no file was chosen.
        if name.is_some_and(|name| !(name.is_empty() && content.is_empty())) {
            files += 1;
            found = Some((headers, content));
        }
        Ok(())
    })?;
    let (headers, content) = match (files, found) {
        (1, Some(file)) => file,
        (0, _) | (_, None) => return Err(MultipartError::NoFile),
        (files, Some(_)) => return Err(MultipartError::ManyFiles { files }),
    };
    let is_plain =
        |encoding: &String| ["binary", "8bit", "7bit"].iter().any(|it| encoding.eq_ignore_ascii_case(it));
    match header(headers, "content-transfer-encoding").filter(|encoding| !is_plain(encoding)) {
        Some(encoding) => Err(MultipartError::UnsupportedEncoding { encoding }),
        None => Ok(content),
    }
}

/// Calls `on_part` with each part (headers and content), without the boundary lines.
fn each_part<'a>(
    boundary: &str,
    body: &'a [u8],
    mut on_part: impl FnMut(&'a [u8]) -> Result<(), MultipartError>,
) -> Result<(), MultipartError> {
    let delimiter = format!("\r\n--{boundary}");
    // The first boundary may stand at the very beginning, without a line end before it.
    let first = body.starts_with(&delimiter.as_bytes()[2..]).then_some((0, delimiter.len() - 2));
    let others = memmem::find_iter(body, &delimiter).map(|at| (at, at + delimiter.len()));
    let mut start = None;
    for (at, after) in first.into_iter().chain(others) {
        let rest = &body[after..];
        let is_last = rest.starts_with(b"--");
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !is_last && !rest[blanks..].starts_with(b"\r\n") {
            // The boundary is the prefix of a longer line, which belongs to the content.
            continue;
        }
        if let Some(start) = start {
            on_part(body.get(start..at).unwrap_or_default())?;
        }
        if is_last {
            return Ok(());
        }
        start = Some(after + blanks + 2);
    }
    Err(MultipartError::Truncated)
}

/// The headers and the content of a part.
fn split_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(content) = part.strip_prefix(b"\r\n") {
        return Some((b"", content));
    }
    let at = memmem::find(part, b"\r\n\r\n")?;
    Some((&part[..at], &part[at + 4..]))
}

/// The value of a header; `name` in small letters.
fn header(headers: &[u8], name: &str) -> Option<String> {
    headers.split(|byte| *byte == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The name of the file that a `Content-Disposition` gives; `None` for a field that is no file.
fn file_name(disposition: &str) -> Option<String> {
    let (_, parameters) = disposition.split_once(';')?;
    parameter(parameters, "filename").or_else(|| parameter(parameters, "filename*"))
}

/// The value of one of the parameters `a=b; c="d"`; `name` in small letters.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let end = rest.find(['=', ';'])?;
        let (found, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let (value, after) = self::value(value.trim_start());
        if found.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// The value at the beginning of a text, and the rest.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        return (value.trim_end().to_owned(), after);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// As curl 7.88.1 sends it, its boundary shortened.
    const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.org\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n* A\n\r\n";
    const FIELD: &str = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n";
    const UNCHOSEN: &str = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n\r\n";

    fn file(body: &str) -> Result<&str, MultipartError> {
        single_file("b", body.as_bytes()).map(|file| str::from_utf8(file).unwrap())
    }

    #[rstest]
    #[case::alone(&[FILE, "--b--\r\n"], "* A\n")]
    #[case::without_a_last_line_end(&[FILE, "--b--"], "* A\n")]
    #[case::behind_a_field(&[FIELD, FILE, "--b--\r\n"], "* A\n")]
    #[case::before_a_field(&[FILE, FIELD, "--b--\r\n"], "* A\n")]
    #[case::beside_an_unchosen_file(&[FILE, UNCHOSEN, "--b--\r\n"], "* A\n")]
    #[case::between_other_text(&["preamble\r\n", FILE, "--b--\r\nepilogue"], "* A\n")]
    #[case::blanks_behind_the_boundary(&["--b \t\r\ncontent-disposition:form-data;FILENAME=x\r\n\r\nA\r\n--b--"], "A")]
    #[case::empty(&["--b\r\nContent-Disposition: form-data; filename=x\r\n\r\n\r\n--b--"], "")]
    #[case::a_boundary_within_a_line(
        &["--b\r\nContent-Disposition: form-data; filename=x\r\n\r\nA--b--\n--b--\n --b\r\n--bb\r\n\r\n--b--"], "A--b--\n--b--\n --b\r\n--bb\r\n"
    )]
    #[case::a_name_by_rfc_5987(&["--b\r\nContent-Disposition: form-data; filename*=UTF-8''x\r\n\r\nA\r\n--b--"], "A")]
    #[case::a_name_that_says_filename(
        &["--b\r\nContent-Disposition: form-data; name=\"x; \\\"filename=y\"\r\n\r\nno\r\n", FILE, "--b--"], "* A\n"
    )]
    #[case::plainly_encoded(
        &["--b\r\nContent-Transfer-Encoding: binary\r\nContent-Disposition: form-data; filename=x\r\n\r\nA\r\n--b--"], "A"
    )]
    fn single_files_are_found(#[case] body: &[&str], #[case] content: &str) {
        assert_eq!(file(&body.concat()), Ok(content));
    }

    #[rstest]
    #[case::no_file(&[FIELD, "--b--\r\n"], MultipartError::NoFile)]
    #[case::none_chosen(&[UNCHOSEN, "--b--\r\n"], MultipartError::NoFile)]
    #[case::no_part(&["--b--\r\n"], MultipartError::NoFile)]
    #[case::no_headers(&["--b\r\n\r\nA\r\n--b--"], MultipartError::NoFile)]
    #[case::two_files(&[FILE, FILE, "--b--\r\n"], MultipartError::ManyFiles { files: 2 })]
    #[case::cut_off(&[FILE], MultipartError::Truncated)]
    #[case::cut_off_within_the_last_boundary(&[FILE, "--b-"], MultipartError::Truncated)]
    #[case::another_boundary(&["--c\r\n\r\nA\r\n--c--"], MultipartError::Truncated)]
    #[case::nothing(&[""], MultipartError::Truncated)]
    #[case::no_empty_line(&["--b\r\nContent-Disposition: form-data\r\n--b--"], MultipartError::MissingHeaders)]
    #[case::empty_part(&["--b\r\n--b--"], MultipartError::MissingHeaders)]
    #[case::base64(
        &["--b\r\nContent-Disposition: form-data; filename=x\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--b--"],
        MultipartError::UnsupportedEncoding { encoding: "base64".to_owned() }
    )]
    fn other_forms_are_refused(#[case] body: &[&str], #[case] error: MultipartError) {
        assert_eq!(file(&body.concat()), Err(error));
    }

    #[rstest]
    #[case("multipart/form-data; boundary=----x", Some(Ok("----x")))]
    #[case("Multipart/Form-Data;charset=utf-8; Boundary=\"a b;c\"", Some(Ok("a b;c")))]
    #[case("multipart/form-data", Some(Err(MultipartError::NoBoundary)))]
    #[case("multipart/form-data; boundary=", Some(Err(MultipartError::NoBoundary)))]
    #[case("multipart/form-data; boundary", Some(Err(MultipartError::NoBoundary)))]
    #[case("multipart/form-data; ;;boundary=\"x", Some(Ok("x")))]
    #[case("multipart/mixed; boundary=x", None)]
    #[case("text/org", None)]
    #[case("", None)]
    fn boundaries_are_read_from_the_content_type(
        #[case] content_type: &str,
        #[case] expected: Option<Result<&str, MultipartError>>,
    ) {
        assert_eq!(boundary(content_type), expected.map(|expected| expected.map(str::to_owned)));
    }
}
