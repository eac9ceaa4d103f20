//! Extracts the document from the body of a request: raw, URL-encoded, or a file of a multipart form. Pure.
//!
//! `curl -d @FILE` deletes every newline. Such a body cannot be repaired, so the error names the command to use. The
//! content type is not reliable: curl sends `application/x-www-form-urlencoded` also for bodies that it did not encode.

use std::borrow::Cow;

use memchr::memmem;
use thiserror::Error;

use super::multipart::{self, MultipartError};

/// The document of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadedDocument<'a> {
    /// The Org text.
    pub document: Cow<'a, [u8]>,
    /// A note for the client, if the document was decoded.
    pub note: Option<String>,
}

/// Why a body holds no document. The messages are complete response bodies for status 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UploadError {
    /// Its newlines were deleted.
    #[error(
        "This document arrived on one line: curl -d @FILE (or -d@FILE) deletes every newline.\n\
         Send it with:   curl -X POST --data-binary @FILE http://{server_address}/org\n\
         No block was scheduled."
    )]
    NewlinesStripped {
        /// Host and port of this server as the client knows them.
        server_address: String,
    },
    /// It is a file's name.
    #[error(
        "curl sent the file's name, not its content: --data-raw does not read files.\n\
         Send it with:   curl -X POST --data-binary @{file} http://{server_address}/org\n\
         No block was scheduled."
    )]
    FileNameOnly {
        /// The name as one types it in a shell; `FILE` where it cannot be typed.
        file: String,
        /// Host and port of this server as the client knows them.
        server_address: String,
    },
    /// A form of which no one field is the document.
    #[error(
        "This form has {fields} fields that look like a document: send one document at a time.\n\
         Send it with:   curl -X POST --data-binary @FILE http://{server_address}/org\n\
         No block was scheduled."
    )]
    MultipleDocuments {
        /// How many.
        fields: usize,
        /// Host and port of this server as the client knows them.
        server_address: String,
    },
    /// A multipart form without the one file that would be the document.
    #[error(
        "{error}.\n\
         Send it with:   curl -X POST --data-binary @FILE http://{server_address}/org\n\
         No block was scheduled."
    )]
    Multipart {
        /// What is wrong with the form.
        error: MultipartError,
        /// Host and port of this server as the client knows them.
        server_address: String,
    },
}

/// The longest name of a file, bytes: Linux' `PATH_MAX`.
const MAX_NAME_LEN: usize = 4096;

/// `#+` as a form encodes it; the letter in any case.
const ENCODED_KEYWORD: &[u8] = b"%23%2B";

/// The document in the body of a request. `server_address` is `HOST:PORT` of this server as the client knows it.
/// Time is linear in the length of the body.
///
/// # Errors
/// [`UploadError`] if the body holds no document.
pub(crate) fn document<'a>(
    content_type: Option<&str>,
    body: &'a [u8],
    server_address: &str,
) -> Result<UploadedDocument<'a>, UploadError> {
    let server_address = || server_address.to_owned();
    if let Some(boundary) = content_type.and_then(multipart::boundary) {
        return match boundary.and_then(|boundary| multipart::single_file(&boundary, body)) {
            Ok(file) => Ok(UploadedDocument { document: Cow::Borrowed(file), note: None }),
            Err(error) => Err(UploadError::Multipart { error, server_address: server_address() }),
        };
    }
    // A body without newlines: curl may have deleted or encoded them.
    if memchr::memchr2(b'\n', b'\r', body).is_none() {
        if has_lost_newlines(body) {
            return Err(UploadError::NewlinesStripped { server_address: server_address() });
        }
        if let Some(file) = shell_file_name(body) {
            return Err(UploadError::FileNameOnly { file, server_address: server_address() });
        }
        if memchr::memchr(b'#', body).is_none() && has_encoded_keyword(body) {
            return form_field(body)
                .map(|field| UploadedDocument {
                    document: Cow::Owned(percent_decode(field)),
                    note: Some(
                        "the document came URL-encoded and was decoded once; `--data-binary @FILE` sends it as it is"
                            .to_owned(),
                    ),
                })
                .map_err(|fields| UploadError::MultipleDocuments { fields, server_address: server_address() });
        }
    }
    Ok(UploadedDocument { document: Cow::Borrowed(body), note: None })
}

/// Whether a line holds the beginning of a block, or two keywords, which never stand on one line.
fn has_lost_newlines(line: &[u8]) -> bool {
    let begins_block = |at: usize| {
        line.get(at + 2..at + 11).is_some_and(|keyword| keyword.eq_ignore_ascii_case(b"begin_src"))
    };
    let mut keywords = memmem::find_iter(line, b"#+");
    keywords.next().is_some_and(|first| begins_block(first) || keywords.next().is_some())
}

/// The file name in `@NAME`, quoted for a shell.
fn shell_file_name(line: &[u8]) -> Option<String> {
    let name = line.strip_prefix(b"@").filter(|name| !name.is_empty() && name.len() < MAX_NAME_LEN)?;
    let Some(name) = str::from_utf8(name).ok().filter(|name| !name.contains(char::is_control)) else {
        return Some("FILE".to_owned());
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+,:@%=".contains(&byte);
    Some(if name.bytes().all(is_plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    })
}

/// Whether the text contains a URL-encoded `#+`.
fn has_encoded_keyword(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| {
        text.get(at..at + ENCODED_KEYWORD.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(ENCODED_KEYWORD))
    })
}

/// The value of the only field that holds a document. `Err` is the number of such fields.
fn form_field(form: &[u8]) -> Result<&[u8], usize> {
    let mut documents = form.split(|byte| *byte == b'&').filter(|field| has_encoded_keyword(field));
    let first = documents.next().unwrap_or(form);
    match documents.count() {
        // An `=` behind the document's beginning is not the one that ends a field's name.
        0 => Ok(memchr::memchr(b'=', first)
            .map(|at| first.split_at(at))
            .filter(|(name, _)| !has_encoded_keyword(name))
            .map_or(first, |(_, value)| &value[1..])),
        more => Err(more + 1),
    }
}

/// A field's value, decoded once; a `%` that begins no code stays as it is.
fn percent_decode(field: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        let digit = char::from(*field.get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let mut text = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let code = if byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        match (byte, code) {
            (_, Some((high, low))) => text.push(high * 16 + low),
            (b'+', None) => text.push(b' '),
            (byte, None) => text.push(byte),
        }
        at += if code.is_some() { 3 } else { 1 };
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// What curl 7.88.1 sends as the type of all that is given by `-d` and its kin.
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
    const AT: &str = "192.168.0.7:8888";

    /// The file that was sent: 136 bytes.
    const FILE: &str = "#+TITLE: t\n\n#+name: run-forever\n#+BEGIN_SRC sh\necho \"Started running\"\n\
        while true; do\n  echo \"Still running...\"\n  sleep 1\ndone\n#+END_SRC\n";

    // As captured from curl 7.88.1.
    const URLENCODED: &str = "%23%2BTITLE%3A+t%0A%0A%23%2Bname%3A+run-forever%0A%23%2BBEGIN_SRC+sh%0A\
        echo+%22Started+running%22%0Awhile+true%3B+do%0A++echo+%22Still+running...%22%0A++sleep+1%0Adone%0A\
        %23%2BEND_SRC%0A";
    const ONE_LINE: &str = "#+TITLE: t#+name: run-forever#+BEGIN_SRC shecho \"Started running\"while true; do  \
        echo \"Still running...\"  sleep 1done#+END_SRC";
    const MULTIPART: Option<&str> =
        Some("multipart/form-data; boundary=------------------------bdf2a1ecfd4f2e35");
    const MULTIPART_HEAD: &str = "--------------------------bdf2a1ecfd4f2e35\r\nContent-Disposition: form-data; \
        name=\"file\"; filename=\"org-file.org\"\r\nContent-Type: application/octet-stream\r\n\r\n";
    const MULTIPART_END: &str = "\r\n--------------------------bdf2a1ecfd4f2e35--\r\n";

    fn multipart(file: &str) -> String {
        [MULTIPART_HEAD, file, MULTIPART_END].concat()
    }

    #[rstest]
    #[case::inline_d(FORM, FILE.trim_end().to_owned(), FILE.trim_end())]
    #[case::data_binary(FORM, FILE.to_owned(), FILE)]
    #[case::upload_with_no_type(None, FILE.to_owned(), FILE)]
    #[case::raw_by_another_client(Some("text/org; charset=utf-8"), FILE.to_owned(), FILE)]
    #[case::form_file(MULTIPART, multipart(FILE), FILE)]
    #[case::encoded_characters_with_newlines(FORM, "a=%41&b=+\n#+TITLE: 100%25\n".to_owned(), "a=%41&b=+\n#+TITLE: 100%25\n")]
    #[case::encoded_within_a_document(FORM, "see %23%2B\n".to_owned(), "see %23%2B\n")]
    #[case::encoded_beside_a_keyword(None, "#+TITLE: %23%2B".to_owned(), "#+TITLE: %23%2B")]
    #[case::no_blocks(FORM, "* Notes\nnothing runs here\n".to_owned(), "* Notes\nnothing runs here\n")]
    #[case::no_blocks_no_newline(FORM, "only a sentence".to_owned(), "only a sentence")]
    #[case::one_keyword(FORM, "#+TITLE: alone".to_owned(), "#+TITLE: alone")]
    #[case::line_ends_of_old(None, "#+a: 1\r#+b: 2\r".to_owned(), "#+a: 1\r#+b: 2\r")]
    #[case::a_person_first(FORM, "@ada\nwrote this\n".to_owned(), "@ada\nwrote this\n")]
    #[case::only_an_at(FORM, "@".to_owned(), "@")]
    #[case::nothing(None, String::new(), "")]
    fn raw_documents_are_unchanged(
        #[case] content_type: Option<&str>,
        #[case] body: String,
        #[case] document_sent: &str,
    ) {
        let received = document(content_type, body.as_bytes(), AT).unwrap();
        assert_eq!(str::from_utf8(&received.document), Ok(document_sent));
        assert_eq!(received.note, None);
        assert!(matches!(received.document, Cow::Borrowed(_)));
    }

    #[rstest]
    #[case::data_urlencode(URLENCODED.to_owned(), FILE)]
    #[case::data_urlencode_named(format!("doc={URLENCODED}"), FILE)]
    #[case::in_a_larger_form(format!("token=x&doc={URLENCODED}&send=now"), FILE)]
    #[case::small_letters_and_spaces_as_codes("%23%2btitle:%20a%2bb".to_owned(), "#+title: a+b")]
    #[case::decoded_once("%23%2BTITLE%3A+%2541".to_owned(), "#+TITLE: %41")]
    #[case::an_equals_left_alone("%23%2Bx%3A+a=b".to_owned(), "#+x: a=b")]
    #[case::no_codes("%23%2Bx%3A+100%+%zz%4".to_owned(), "#+x: 100% %zz%4")]
    fn encoded_documents_are_decoded_with_a_note(#[case] body: String, #[case] document_sent: &str) {
        let received = document(FORM, body.as_bytes(), AT).unwrap();
        assert_eq!(str::from_utf8(&received.document), Ok(document_sent));
        assert_eq!(
            received.note.as_deref(),
            Some(
                "the document came URL-encoded and was decoded once; `--data-binary @FILE` sends it as it is"
            )
        );
    }

    #[rstest]
    #[case::as_printed_in_the_readme(ONE_LINE)]
    #[case::a_block_alone("#+begin_src shdate#+end_src")]
    #[case::in_any_case("text#+Begin_Src sh")]
    #[case::two_keywords("#+TITLE: t#+name: x")]
    #[case::with_an_at("@#+begin_src")]
    fn documents_without_newlines_are_refused(#[case] body: &str) {
        let error = document(FORM, body.as_bytes(), AT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "This document arrived on one line: curl -d @FILE (or -d@FILE) deletes every newline.\n\
             Send it with:   curl -X POST --data-binary @FILE http://192.168.0.7:8888/org\n\
             No block was scheduled."
        );
    }

    #[rstest]
    #[case::plain("@org-file.org", "@org-file.org")]
    #[case::with_a_path("@~/notes/a.org", "@'~/notes/a.org'")]
    #[case::with_spaces("@my file.org", "@'my file.org'")]
    #[case::with_a_quote("@it's.org", r"@'it'\''s.org'")]
    #[case::that_would_run("@$(reboot)", "@'$(reboot)'")]
    #[case::that_writes_to_a_terminal("@\u{1b}[2J", "@FILE")]
    fn file_names_are_refused(#[case] body: &str, #[case] typed: &str) {
        let error = document(FORM, body.as_bytes(), AT).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "curl sent the file's name, not its content: --data-raw does not read files.\n\
                 Send it with:   curl -X POST --data-binary {typed} http://192.168.0.7:8888/org\n\
                 No block was scheduled."
            )
        );
    }

    #[test]
    fn forms_with_two_documents_are_refused() {
        let body = format!("{URLENCODED}&b={URLENCODED}");
        insta::assert_snapshot!(document(FORM, body.as_bytes(), AT).unwrap_err(), @r"
        This form has 2 fields that look like a document: send one document at a time.
        Send it with:   curl -X POST --data-binary @FILE http://192.168.0.7:8888/org
        No block was scheduled.
        ");
    }

    #[test]
    fn forms_without_a_file_are_refused() {
        let body = multipart(FILE).replace("; filename=\"org-file.org\"", "");
        insta::assert_snapshot!(document(MULTIPART, body.as_bytes(), AT).unwrap_err(), @r"
        this form has no file: `-F file=@FILE` sends one.
        Send it with:   curl -X POST --data-binary @FILE http://192.168.0.7:8888/org
        No block was scheduled.
        ");
    }

    fn fragments() -> impl Strategy<Value = Vec<u8>> {
        let fragment = proptest::sample::select(vec![
            "#+",
            "begin_src",
            "%23",
            "%2B",
            "%2b",
            "%",
            "&",
            "=",
            "@",
            "\n",
            "\r\n",
            "--",
            "b",
            "+",
            "x",
            "\"",
            "Content-Disposition: form-data; filename=",
            "\0",
            "é",
        ]);
        proptest::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_do_not_panic(
            content_type in proptest::option::of("(multipart/form-data; boundary=)?[-\"b;= a-z]{0,12}"),
            body in prop_oneof![fragments(), proptest::collection::vec(any::<u8>(), 0..200)],
        ) {
            if let Ok(received) = document(content_type.as_deref(), &body, AT) {
                prop_assert!(received.document.len() <= body.len());
            }
        }

        #[test]
        fn documents_with_newlines_are_unchanged(mut body in fragments()) {
            body.push(b'\n');
            prop_assert_eq!(&*document(FORM, &body, AT).unwrap().document, &*body);
        }
    }
}
