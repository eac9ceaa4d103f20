//! Tests of noweb references in whole documents.

use super::*;
use crate::parse;

fn bodies(source: &str) -> Vec<String> {
    let document = parse(source.as_bytes(), &[]);
    let mut bodies = BodyExpander::new(source.as_bytes(), &document);
    let shown = |body: Result<ExpandedBody<'_>, ExpansionError>| match body {
        Ok(ExpandedBody { text, missing, calls }) => {
            let missing = missing.map(|(at, id)| format!(" ({}:{} {id}?)", at.line, at.column));
            let call = |NowebCall { name, arguments, at }: &NowebCall| {
                format!(" ({}:{} {name} called with {arguments:?})", at.line, at.column)
            };
            let calls: String = calls.iter().map(call).collect();
            format!(
                "{}{}{calls}",
                String::from_utf8_lossy(&placeholder::without(&text)),
                missing.unwrap_or_default()
            )
        }
        Err(ExpansionError { at, kind }) => format!("{}:{}: {kind}", at.line, at.column),
    };
    (0..document.blocks.len()).map(|place| shown(bodies.run_body(place))).collect()
}

fn last(source: &str) -> String {
    bodies(source).pop().unwrap()
}

const TWO: &str = "#+name: two\n#+begin_src sh\na\nb\n#+end_src\n";

#[rstest::rstest]
#[case::alone("<<two>>", "a\nb")]
#[case::prefix("# <<two>>!", "# a\n# b!")]
#[case::two_on_a_line("x <<two>> y <<two>>", "x a\nx b y a\n y b")]
#[case::any_case("<<TWO>>", "a\nb")]
#[case::blanks_inside("<< two >>", "<< two >>")]
#[case::nothing("<<>> << >>", "<<>> << >>")]
#[case::missing("a <<tow>>b", "a b (7:3 tow?)")]
#[case::open("<<two", "<<two")]
#[case::open_and_closed("<<two > <<two>>", " (7:1 two > <<two?)")]
#[case::shift("cat << EOF", "cat << EOF")]
#[case::call("  x=<<two()>>", "x= (7:5 two called with \"\")")]
#[case::call_with_arguments("<<two(a=1)>><<two>>", "a\nb (7:1 two called with \"a=1\")")]
fn references_are_expanded(#[case] line: &str, #[case] expected: &str) {
    let source = format!("{TWO}#+begin_src sh :noweb yes\n{line}\n#+end_src\n");
    assert_eq!(last(&source), expected);
}

#[rstest::rstest]
#[case("yes", true)]
#[case("eval", true)]
#[case("no-export", true)]
#[case("strip-export", true)]
#[case("strip-tangle", true)]
#[case("no", false)]
#[case("tangle", false)]
#[case("no tangle eval", true)]
fn noweb_values_decide_on_expansion(#[case] noweb: &str, #[case] expands: bool) {
    let body = last(&format!("{TWO}#+begin_src sh :noweb {noweb}\n<<two>>\n#+end_src\n"));
    assert_eq!(body, if expands { "a\nb" } else { "<<two>>" });
}

#[rstest::rstest]
#[case::another_name("#+name: one\n#+name: x\n", "sh")]
#[case::another_keyword("#+name: one\n#+title: x\n", "sh")]
#[case::an_old_spelling("#+name: one\n#+srcname: x\n", "sh")]
#[case::no_language("#+name: one\n", "")]
#[case::after_a_mark("\u{feff}#+name: one\n", "sh")]
fn blocks_are_found_by_the_keywords_above_them(#[case] above: &str, #[case] language: &str) {
    let source = format!(
        "{above}#+begin_src {language}\n1\n#+end_src\n#+begin_src sh :noweb yes\n<<one>>\n#+end_src\n"
    );
    assert_eq!(last(&source), "1");
}

#[test]
fn nested_references_need_noweb_on_their_own_block() {
    let source = "#+name: a\n#+begin_src sh :noweb yes\n<<b>>\n#+end_src\n\
                  #+name: b\n#+begin_src sh\n<<c>>\n#+end_src\n\
                  #+name: c\n#+begin_src sh\nend\n#+end_src\n\
                  #+begin_src sh :noweb yes\n- <<a>>\n#+end_src\n";
    assert_eq!(bodies(source), ["<<c>>", "<<c>>", "end", "- <<c>>"]);
}

#[test]
fn blocks_with_the_same_noweb_ref_are_joined() {
    let source = "#+begin_src sh :noweb-ref r :noweb-sep \", \"\n1\n#+end_src\n\
                  * COMMENT c\n#+begin_src sh :noweb-ref r\n2\n#+end_src\n* d\n\
                  #+begin_src sh :noweb-ref r :noweb-sep !\n3\n4\n#+end_src\n\
                  #+begin_src sh :noweb yes\n(<<r>>)\n#+end_src\n\
                  #+begin_src sh :noweb yes :noweb-prefix no\n(<<r>>)\n#+end_src\n";
    assert_eq!(bodies(source)[3..], ["(1, 3\n(4)", "(1, 3\n4)"]);
}

#[test]
fn calls_in_referenced_blocks_are_listed() {
    let source = "#+name: a\n#+begin_src sh :noweb yes\n<<two()>> <<b>> <<two()>>\n#+end_src\n\
                  #+name: b\n#+begin_src sh :noweb yes\n<<two(x)>>\n#+end_src\n\
                  #+begin_src sh :noweb yes\n<<a>>\n#+end_src\n";
    let two = " (3:1 two called with \"\")";
    let calls = format!("{two} (7:1 two called with \"x\"){two}");
    assert_eq!(last(source), format!("  {calls}"));
}

#[test]
fn references_to_headings_expand_to_their_contents() {
    let source = "* a\n:PROPERTIES:\n:CUSTOM_ID: x\n:END:\nmkdir x\n* b\n\
                  #+begin_src sh :noweb yes\n<<X>>\n#+end_src\n";
    assert_eq!(last(source), "mkdir x");
    assert_eq!(last(&source.replace('\n', "\r\n")), "mkdir x");
}

#[test]
fn reference_cycles_are_reported_with_their_lines() {
    let block =
        |name: &str, body: &str| format!("#+name: {name}\n#+begin_src sh :noweb yes\n{body}\n#+end_src\n");
    let source = block("a", "<<b>>") + &block("b", "x <<a>>") + &block("c", "<<c>>");
    insta::assert_snapshot!(bodies(&source).join("\n"), @r"
    7:3: the blocks at lines 2 → 6 → 2 refer to each other
    3:1: the blocks at lines 6 → 2 → 6 refer to each other
    11:1: the blocks at lines 10 → 10 refer to each other
    ");
}

#[test]
fn exponential_expansion_is_limited() {
    let mut source = String::from("#+name: b0\n#+begin_src sh\n0123456789\n#+end_src\n");
    for n in 1..60 {
        let reference = format!("<<b{}>>", n - 1);
        let block = format!("#+name: b{n}\n#+begin_src sh :noweb yes\n{reference}{reference}\n#+end_src\n");
        source.push_str(&block);
    }
    let expanded = bodies(&source);
    assert!(expanded[59].contains("more than can be held"), "{}", expanded[59].len());
    // Nothing times two is nothing, but finding that out must not take two to the sixtieth steps.
    assert_eq!(last(&source.replace("0123456789\n", "")), "");
}

#[test]
fn reference_depth_is_limited() {
    let mut source = String::from("#+name: b0\n#+begin_src sh\nx\n#+end_src\n");
    for n in 1..1000 {
        let next = (n + 1) % 1000;
        let block = format!("#+name: b{n}\n#+begin_src sh :noweb yes\n<<b{next}>>\n#+end_src\n");
        source.push_str(&block);
    }
    assert!(bodies(&source)[1].contains("more than 200 references"));
}

#[test]
fn code_reference_labels_are_removed() {
    let body = |header: &str, line: &str| last(&format!("#+begin_src sh{header}\n{line}\n#+end_src\n"));
    assert_eq!(body("", "a (ref:x)\nb # (REF:y z)  "), "a\nb #");
    assert_eq!(body(" -l \"[%s]\"", "a (ref:x) [y]"), "a (ref:x)");
    let source = format!("{TWO}#+begin_src sh :noweb yes\n<<two>> (ref:x)\n#+end_src\n");
    assert_eq!(last(&source), "a\nb");
}
