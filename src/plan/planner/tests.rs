//! Tests of plans as text: tasks, edges, skipped blocks, warnings and errors.

use std::fmt::Write;

use super::super::plan::SkippedBlock;
use super::*;
use borges_org as org;
use borges_task::{Edge, TaskSpec};

/// What a person would be told of a document: its plan, or everything that is wrong with it.
fn plan_text_with(source: &[u8], options: &PlanOptions) -> String {
    let mut text = String::new();
    let diagnostic = |text: &mut String, diagnostic: &Diagnostic| {
        writeln!(text, "{diagnostic}").unwrap();
        if !diagnostic.help.is_empty() {
            writeln!(text, "    {}", diagnostic.help).unwrap();
        }
    };
    match plan(source, &org::parse(source, &[]), options) {
        Ok(plan) => {
            for task in &plan.tasks {
                let TaskSpec { number, block, line, command, resources, policy, requires_approval, .. } =
                    &**task;
                write!(text, "{number} {block} (line {line}): {}", command.program).unwrap();
                write!(text, " {}; {resources}", command.arguments.join(" ")).unwrap();
                if let Some(directory) = &command.directory {
                    write!(text, "; in {directory}").unwrap();
                }
                for (name, value) in command.environment.iter() {
                    write!(text, "; {name}={value:?}").unwrap();
                }
                if **policy != borges_task::Policy::default() {
                    write!(text, "; {policy:?}").unwrap();
                }
                writeln!(text, "{}", if *requires_approval { "; held" } else { "" }).unwrap();
            }
            for Edge { from, to, requirement } in &plan.edges {
                writeln!(text, "{to} waits for {from}: {requirement:?}").unwrap();
            }
            for SkippedBlock { block, line, reason, .. } in &plan.skipped {
                writeln!(text, "skipped {block} (line {line}): {reason}").unwrap();
            }
            plan.warnings.iter().for_each(|warning| diagnostic(&mut text, warning));
        }
        Err(diagnostics) => diagnostics.iter().for_each(|found| diagnostic(&mut text, found)),
    }
    text
}

fn plan_text(source: &str) -> String {
    plan_text_with(source.as_bytes(), &PlanOptions::default())
}

#[test]
fn blocks_become_tasks() {
    insta::assert_snapshot!(plan_text(
        "#+borges_lang: py \"python3 -u\"\n\
         #+property: header-args :mem 64\n\
         #+name: fetch\n#+header: :cpu 0.5 :env A=1 B=\"two words\"\n#+begin_src sh :dir data\ntrue\n#+end_src\n\
         #+begin_src py :requires fetch :retry 3 :retry-on 75 :timeout 10m\n1\n#+end_src\n\
         #+name: serve\n#+begin_src bash :ensure it-keeps-running :mem 2G :after fetch\ntrue\n#+end_src\n\
         #+begin_src awk :before serve\n{}\n#+end_src\n\
         #+begin_src yaml\na: 1\n#+end_src\n"
    ));
}

#[test]
fn sequential_blocks_depend_on_their_predecessor() {
    insta::assert_snapshot!(plan_text(
        "#+runmode: sequential\n#+begin_src sh\n#+end_src\n#+begin_src text\n#+end_src\n\
         #+begin_src sh\n#+end_src\n#+begin_src sh\n#+end_src\n"
    ));
}

#[test]
fn dependents_of_skipped_blocks_are_skipped() {
    insta::assert_snapshot!(plan_text(
        "#+name: a\n#+begin_src sh :eval no\n#+end_src\n\
         #+name: b\n#+begin_src sh :requires a\n#+end_src\n\
         #+name: c\n#+begin_src sh :requires b\n#+end_src\n\
         #+name: d\n#+begin_src sh :after a\n#+end_src\n\
         #+name: e\n#+begin_src sh :eval query\n#+end_src\n"
    ));
}

#[test]
fn selection_includes_required_blocks() {
    let source = b"#+name: a\n#+begin_src sh\n#+end_src\n\
                   #+name: b\n#+begin_src sh :requires a\n#+end_src\n\
                   #+name: c\n#+begin_src sh :after b\n#+end_src\n\
                   #+name: d\n#+begin_src sh :after b\n#+end_src\n";
    let options_for = |names: &[&str]| PlanOptions {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..PlanOptions::default()
    };
    insta::assert_snapshot!(plan_text_with(source, &options_for(&["b", "d"])));
    insta::assert_snapshot!(plan_text_with(source, &options_for(&["bb"])));
}

#[test]
fn directories_are_relative_to_the_document() {
    let options = PlanOptions {
        directory: Some("/home/me/doc".to_owned()),
        home: Some("/home/me".to_owned()),
        ..PlanOptions::default()
    };
    let source = b"#+begin_src sh\n#+end_src\n#+begin_src sh :dir data\n#+end_src\n\
                   #+begin_src sh :dir /tmp\n#+end_src\n#+begin_src sh :dir ~/x\n#+end_src\n";
    insta::assert_snapshot!(plan_text_with(source, &options));
}

#[test]
fn all_errors_of_a_document_are_reported() {
    insta::assert_snapshot!(plan_text(
        "#+runmode: chained\n\
         #+borges_lang: py\n\
         #+name: a\n#+begin_src sh :cpu -1 :mem lots :timeout soon\ntrue\n#+end_src\n\
         #+name: b\n#+begin_src sh :requires fetch :cpu :var x=1\ntrue\n#+end_src\n\
         #+name: twice\n#+begin_src sh\ntrue\n#+end_src\n\
         #+name: twice\n#+begin_src sh :results value :session s\ntrue\n#+end_src\n\
         #+begin_src sh :after twice :dir /ssh:host:/tmp :env A\n<<a>>\n#+end_src\n\
         #+begin_src yaml :cpu -1\nskipped, so nothing is wrong with it\n#+end_src\n\
         #+begin_src sh\nnever closed\n"
    ));
}

#[test]
fn tangled_files_stay_in_the_sandbox() {
    let tangled = |file: &str| plan_text(&format!("#+begin_src conf :tangle {file}\n#+end_src\n"));
    for file in ["/etc/passwd", "~/.emacs", "../x", "a/../../x"] {
        assert!(tangled(file).starts_with("1:18: error: `:tangle "), "{}", tangled(file));
    }
    for file in ["x", "a/b.c", "yes", "no", "..x"] {
        assert!(tangled(file).starts_with("skipped"), "{}", tangled(file));
    }
}

#[test]
fn likely_typos_cause_warnings() {
    insta::assert_snapshot!(plan_text(
        "#+name: twice\n#+begin_src sh :retires 3 :wibble x\ntrue\n#+end_src\n\
         #+name: twice\n#+begin_src pyton\n1\n#+end_src\n"
    ));
}

#[test]
fn cycles_are_reported_with_their_lines() {
    insta::assert_snapshot!(plan_text(
        "#+name: a\n#+begin_src sh :after c\n#+end_src\n\
         #+name: b\n#+begin_src sh :requires a\n#+end_src\n\
         #+name: c\n#+begin_src sh :after b\n#+end_src\n"
    ));
}

#[test]
fn binary_bytes_are_allowed_outside_running_blocks() {
    let source = b"\xff\n#+begin_src sh\ntrue\n#+end_src\n#+begin_src yaml\n\0\n#+end_src\n";
    insta::assert_snapshot!(plan_text_with(source, &PlanOptions::default()));
    let source = b"#+begin_src sh\ntrue\nab\xffc\0\n#+end_src\n#+name: \0\n#+begin_src sh\n#+end_src\n";
    insta::assert_snapshot!(plan_text_with(source, &PlanOptions::default()));
}

#[test]
fn included_files_are_rejected_if_they_cannot_be_read() {
    insta::assert_snapshot!(plan_text(
        "#+setupfile: house.org\n  #+INCLUDE: \"part.org::#x\" :minlevel 2\n#+include: notes.txt example\n\
         * COMMENT a\n#+include: none.org\n"
    ));
}

#[test]
fn included_blocks_are_located_in_their_own_file() {
    let files = [
        (
            "part.org",
            "text\n#+begin_src sh :cpu many\n#+end_src\n#+name: two\n#+begin_src sh :eval no\n#+end_src\n",
        ),
        ("set.org", "#+property: header-args :mem lots\n#+runmode: backwards\n"),
        (
            "well.org",
            "#+name: well\n#+begin_src sh :requires line-4\n#+end_src\n#+begin_src yaml\n#+end_src\n",
        ),
    ];
    let mut read = |_: &str, path: &str| {
        let (name, text) = files.iter().find(|(name, _)| *name == path).ok_or_else(String::new)?;
        Ok(org::File { name: (*name).to_owned(), id: (*name).to_owned(), text: text.as_bytes().into() })
    };
    let mut resolve_includes = |source: &str| {
        let (text, source_map) =
            org::resolve(&source.as_bytes().to_vec().into(), "doc.org", &mut read).unwrap();
        let options = PlanOptions { files_read: true, source_map, ..PlanOptions::default() };
        (bytes::Bytes::from(text), options)
    };
    let (text, options) = resolve_includes(
        "#+include: part.org\n  #+setupfile: set.org\n#+name: two\n#+begin_src sh :requires a :after two\n#+end_src\n",
    );
    let diagnostics = plan(&text, &org::parse(&text, &[]), &options).unwrap_err();
    let shown: String = diagnostics.iter().map(|diagnostic| diagnostic.render("doc.org", &text)).collect();
    insta::assert_snapshot!(shown);

    let (text, options) = resolve_includes(
        "#+include: well.org\n\n\n#+begin_src sh\n#+end_src\n#+include: part.org :lines \"4-\"\n",
    );
    insta::assert_snapshot!(plan_text_with(&text, &options));
    let plan = plan(&text, &org::parse(&text, &[]), &options).unwrap();
    let skipped: Vec<_> = plan.skipped.iter().map(SkippedBlock::location).collect();
    assert_eq!(skipped, ["line 4 of well.org", "line 5 of part.org"]);
    assert_eq!(plan.included.into_iter().collect::<Vec<_>>(), [(1, "well.org".into())]);
}

#[test]
fn noweb_results_create_dependencies() {
    insta::assert_snapshot!(plan_text(
        "#+name: a\n#+begin_src sh :noweb yes\necho <<b(x=1)>>\n#+end_src\n\
         #+name: b\n#+begin_src sh :after a\n#+end_src\n\
         #+begin_src sh :noweb yes\n<<c()>>\n#+end_src\n"
    ));
}

const TABLES: &str = "#+name: t\n| lr | n |\n|----+---|\n| 1 | 2 |\n| 3 | 4 |\n\n#+name: none\n|---|\n\n\
                     #+name: b\n#+begin_src sh\ntrue\n#+end_src\n";

#[test]
fn instances_and_each_rows_become_tasks() {
    insta::assert_snapshot!(plan_text(&format!(
        "{TABLES}#+name: sweep\n#+begin_src sh :each row=t :env A=1\ntrue\n#+end_src\n\
         #+begin_src sh :instances 2 :after sweep\ntrue\n#+end_src\n\
         #+name: empty\n#+begin_src sh :each row=none\ntrue\n#+end_src\n\
         #+begin_src sh :var x=empty\ntrue\n#+end_src\n\
         #+begin_src sh :procs 1 :var x=sweep\ntrue\n#+end_src\n#+call: sweep()\n"
    )));
}

#[test]
fn instance_errors_are_located() {
    let block = |line: &str| format!("#+begin_src sh {line}\ntrue\n#+end_src\n");
    let lines = [
        ":instances 0",
        ":procs many",
        ":each row",
        ":each =t",
        ":each a a=t",
        ":each row=b",
        ":each row=b(x=1)",
        ":each row=nothing",
        ":each row=\"text\"",
        ":each a b c=t",
        ":each row=t :instances 2",
        ":each row=t :var row=1",
        ":each row=t :results file :file a.png",
    ];
    let blocks: String = lines.into_iter().map(block).collect();
    insta::assert_snapshot!(plan_text(&format!("{TABLES}{blocks}")));
}

#[test]
fn task_and_dependency_limits_are_enforced() {
    let many = "#+name: a\n#+begin_src sh :instances 3000\ntrue\n#+end_src\n\
                #+name: b\n#+begin_src sh :instances 3000 :after a\ntrue\n#+end_src\n";
    let block = "#+begin_src sh :instances 100000\ntrue\n#+end_src\n";
    insta::assert_snapshot!(plan_text(many) + &plan_text(&block.repeat(11)));
}
