//! Options of curl with which people send a document: each is accepted as it was meant, or answered with the correct
//! command.

use std::fs;

use support::server::TestServer;

/// Decoding as a form would change it in five places; without newlines it would have no block.
const DOCUMENT: &str = "#+TITLE: t\n\n#+name: a\n#+begin_src sh :env A=\"%41 + & =\"\necho \"$A\"\necho 1+1 %42 ä &&\n  echo end\n#+end_src\n";
const OUTPUT: &str = "%41 + & =\n1+1 %42 ä\nend\n";

#[test]
fn curl_upload_forms_are_accepted_or_corrected() {
    let server = TestServer::start();
    fs::write(server.path("a.org"), DOCUMENT).unwrap();
    fs::write(server.path("crlf.org"), DOCUMENT.replace('\n', "\r\n")).unwrap();
    // Of such a body curl asks first whether it is wanted.
    let long = format!("{DOCUMENT}{}", "Text of a paragraph.\n".repeat(100_000));
    fs::write(server.path("long.org"), long).unwrap();
    let exact = format!("Send it with:   curl -X POST --data-binary @FILE http://{}/org\n", server.address);
    let refused: [(&[&str], &str); 4] = [
        (&["-d@a.org"], &exact),
        (&["-d", "@crlf.org"], &exact),
        (&["--data-ascii", "@a.org"], &exact),
        (&["--data-raw", "@a.org"], "the file's name"),
    ];
    for (arguments, said) in refused {
        let (status, text) = server.curl(&[&["-X", "POST"], arguments].concat(), "/org");
        assert!(status == 400 && text.contains(said), "{arguments:?}: {status} {text}");
        assert!(text.ends_with("No block was scheduled.\n"), "{text}");
    }
    assert_eq!(server.curl(&[], "/org").1, "");
    let taken: [(&[&str], bool); 8] = [
        (&["-d", DOCUMENT], false),
        (&["--data-raw", DOCUMENT], false),
        (&["--data-binary", "@a.org"], false),
        (&["-T", "a.org"], false),
        (&["--data-urlencode", "@a.org"], true),
        (&["--data-urlencode", "doc@a.org"], true),
        (&["-F", "file=@a.org"], false),
        (&["--data-binary", "@long.org"], false),
    ];
    for (arguments, noted) in taken {
        let (status, text) = server.curl(&[&["-X", "POST"], arguments].concat(), "/org");
        let first = text.lines().next().unwrap_or_default();
        assert!(
            status == 200 && first == "Scheduled 1 code blocks for execution",
            "{arguments:?}: {status} {text}"
        );
        assert_eq!(text.contains("--data-binary"), noted, "{text}");
        let run = text.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
        let output = server.curl(&[], &format!("/tasks/{run}.1/stdout?follow=1"));
        assert_eq!(output, (200, OUTPUT.to_owned()), "{arguments:?}");
    }
    // The spelling of the original's design; and a method that curl takes for a file.
    assert_eq!(server.curl(&["-X", "POST", "--data-binary", "@a.org"], "/org/").0, 200);
    let (status, text) = server.curl(&["-T", "a.org"], "/org");
    assert!(status == 405 && text.contains("POST"), "{status} {text}");
    let (status, text) = server.curl(&["-X", "POST", "--data-binary", "nothing here\n"], "/org");
    assert!(
        status == 200 && text.starts_with("Scheduled 0 code blocks for execution\nThe document holds no"),
        "{text}"
    );
}
