//! Expands the noweb references in a block's body, and reports the references that cannot be expanded.

use borges_org::{BodyExpander, ExpandedBody, ExpansionError, ExpansionErrorKind, NowebCall, Position};

use super::diagnostic::Diagnostic;
use super::symbols::SymbolTable;

/// The code of the block at `index`, with gaps for the results that are put into it, and what these are; empty where
/// it cannot be had, which `diagnostics` then says.
///
/// Emacs lets a reference to nothing stand for nothing; here it is an error, for nobody means to run less than
/// the document says.
pub(super) fn expand_code(
    bodies: &mut BodyExpander<'_>,
    index: usize,
    symbols: &SymbolTable<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Vec<u8>, Vec<NowebCall>) {
    match bodies.run_body(index) {
        Ok(ExpandedBody { text, missing, calls }) => {
            if let Some((at, id)) = missing {
                diagnostics.push(undefined_reference(at, &id, symbols));
            }
            (text.into_owned(), calls)
        }
        Err(ExpansionError { at, kind }) => {
            let text = match &kind {
                ExpansionErrorKind::Cycle(lines) => {
                    let lines = lines.iter().chain(lines.first());
                    let lines: Vec<_> = lines.map(|&line| symbols.source_map.line(line)).collect();
                    format!("the blocks at lines {} refer to each other", lines.join(" → "))
                }
                _ => kind.to_string(),
            };
            diagnostics.push(Diagnostic::error(at, text, help(&kind)));
            (Vec::new(), Vec::new())
        }
    }
}

/// A reference that nothing answers to.
fn undefined_reference(at: Position, id: &str, symbols: &SymbolTable<'_>) -> Diagnostic {
    let Err((_, help)) = symbols.find(id) else {
        let text = format!("the block `{id}` lends its code to no reference");
        let help = "Write its name on a line `#+name:`, and keep it out of COMMENT headings.";
        return Diagnostic::error(at, text, help);
    };
    let help = if help.starts_with("Did") {
        help
    } else {
        "Name a block so with `#+name:`, or leave out `:noweb` if these brackets are code.".to_owned()
    };
    Diagnostic::error(at, format!("no block is called `{id}`"), help)
}

fn help(kind: &ExpansionErrorKind) -> &'static str {
    match kind {
        ExpansionErrorKind::Cycle(_) => "Leave out one of the references.",
        ExpansionErrorKind::TooDeep | ExpansionErrorKind::TooLarge => {
            "Put the code into fewer, longer blocks."
        }
        ExpansionErrorKind::Unreadable(_) => "Mend the header arguments of that block.",
    }
}

#[cfg(test)]
mod tests {
    use crate::{PlanOptions, plan};
    use borges_org as org;

    fn plan_text(source: &str) -> String {
        match plan(source.as_bytes(), &org::parse(source.as_bytes(), &[]), &PlanOptions::default()) {
            Ok(plan) => {
                let body = plan.tasks.last().unwrap().command.body.clone();
                String::from_utf8_lossy(&body).into_owned()
            }
            Err(diagnostics) => diagnostics
                .iter()
                .map(|diagnostic| format!("{diagnostic}\n    {}\n", diagnostic.help))
                .collect::<Vec<_>>()
                .concat(),
        }
    }

    const PARTS: &str = "#+name: part\n#+begin_src conf\na=1\n#+end_src\n";

    #[test]
    fn noweb_references_are_expanded() {
        let run = |line: &str| plan_text(&format!("{PARTS}#+begin_src sh :noweb yes\n{line}\n#+end_src\n"));
        assert_eq!(run("export <<part>>"), "export a=1");
        insta::assert_snapshot!(run("export <<prt>>"), @r"
        6:8: error: no block is called `prt`
            Did you mean `part`?
        ");
        insta::assert_snapshot!(run("cat <<EOF>>out"), @r"
        6:5: error: no block is called `EOF`
            Name a block so with `#+name:`, or leave out `:noweb` if these brackets are code.
        ");
    }

    #[test]
    fn noweb_cycles_are_errors() {
        insta::assert_snapshot!(
            plan_text("#+name: a\n#+begin_src sh :noweb eval\n<<a>>\n#+end_src\n"),
            @r"
        3:1: error: the blocks at lines 2 → 2 refer to each other
            Leave out one of the references.
        "
        );
    }

    #[test]
    fn lisp_arguments_are_rejected() {
        insta::assert_snapshot!(
            plan_text("#+begin_src sh :dir (concat \"a\" \"b\") :env \"A=(x)\" :var x=(f) y=1 :exports (x)\n#+end_src\n\
                  #+begin_src conf :dir (f)\n#+end_src\n#+begin_src sh :eval (if t \"no\")\n#+end_src\n"),
            @r#"
        1:16: error: `:dir (concat "a" "b")` is Lisp, which is not evaluated here
            Write the value itself, in double quotes if it begins with a bracket, `'` or a backquote.
        1:51: error: `:var x=(f)` is Lisp, which is not evaluated here
            Write the value itself, in double quotes, or the name of a table or a list.
        5:16: error: `:eval (if t "no")` is Lisp, which is not evaluated here
            Write the value itself, in double quotes if it begins with a bracket, `'` or a backquote.
        "#
        );
    }
}
