//! Documents with their included files, compared with those of Org's exporter.

use std::fs;
use std::path::Path;
use std::process::Command;

use borges_org::{File, resolve};
use bytes::Bytes;
use serde_json::Value;

const FILES: &[(&str, &str)] = &[
    (
        "b.org",
        "\nzero\n* TODO [#A] One part [1/2] :tag:\nSCHEDULED: <2024-01-01>\n:PROPERTIES:\n:CUSTOM_ID: Id\n:END:\none\n\n\
         ** Two\ntwo\n#+include: \"c.org\"\n* Three\n#+name: n\n#+begin_quote\nquoted\n#+end_quote\nthree\n\n",
    ),
    ("c.org", "\n\n* deep\ntext\n\n** deeper\n\n"),
    ("x.sh", "echo\n* star\n  ,#+x\n\n#+end_src\n\n"),
];

const VALUES: &[&str] = &[
    "\"sub/b.org\"",
    "sub/b.org :minlevel 3",
    "\"sub/b.org\" :lines \"-4\"",
    "\"sub/b.org\" :lines \"3-\"",
    "\"sub/b.org\" :lines \"9-12\"",
    "\"sub/b.org::#Id\"",
    "\"sub/b.org::#Id\" :only-contents t",
    "\"sub/b.org::*One part\" :only-contents t :lines \"2-3\"",
    "\"sub/b.org::*Three\" :lines \"1-3\"",
    "\"sub/b.org::n\"",
    "\"sub/b.org::n\" :only-contents t",
    "\"sub/b.org::Three\" :only-contents t",
    "\"sub/x.sh\" src sh :cpu 2",
    "\"sub/x.sh\" src sh -n :lines \"2-3\"",
    "\"sub/b.org\" quote",
    "\"sub/c.org\" :minlevel 1",
];

/// The text of each file after the inclusions of Org's exporter.
fn emacs(folder: &Path, names: &[String]) -> Vec<String> {
    let script = support::repository("integration/org/emacs.el");
    let output = Command::new("emacs")
        .args(["-Q", "--batch"])
        .args(support::org_lisp().iter().flat_map(|lisp| ["-L".as_ref(), lisp.as_os_str()]))
        .arg("-l")
        .arg(script)
        .args(["-f", "report-included"])
        .args(names)
        .current_dir(folder)
        .output()
        .expect("`emacs` is missing: apt-get install emacs-nox");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let texts: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn borges(folder: &Path, name: &str) -> String {
    let mut read = |from: &str, path: &str| {
        let path = folder.join(from).parent().unwrap().join(path);
        let text = fs::read(&path).map_err(|error| error.to_string())?;
        Ok(File { name: path.display().to_string(), id: path.display().to_string(), text: text.into() })
    };
    let (text, _) = resolve(&fs::read(folder.join(name)).unwrap().into(), name, &mut read).unwrap();
    String::from_utf8(Bytes::from(text).into()).unwrap()
}

#[test]
#[ignore = "needs Emacs"]
fn includes_match_the_exporter_of_emacs() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("sub")).unwrap();
    for (name, text) in FILES {
        fs::write(place.path().join("sub").join(name), text).unwrap();
    }
    let names: Vec<String> = (0..VALUES.len()).map(|n| format!("{n}.org")).collect();
    for (name, value) in names.iter().zip(VALUES) {
        let text = format!("* A\ntext\n  #+INCLUDE: {value}\n** B\n#+include: {value}\nend\n");
        fs::write(place.path().join(name), text).unwrap();
    }
    // The exporter writes `#+BEGIN_src`, and a blank where an option stood at the end of the line.
    let plain = |text: &str| text.lines().map(|line| line.trim_end().to_lowercase()).collect::<Vec<_>>();
    for ((name, value), emacs) in names.iter().zip(VALUES).zip(emacs(place.path(), &names)) {
        assert_eq!(plain(&borges(place.path(), name)), plain(&emacs), "{value}");
    }
}
