//! What is noted in a result of a block that did not end well, in a form that Emacs leaves alone.
//!
//! A drawer round the result, and in it, first, a line `#+attr_borges: :state failed :exit 3`: the next result takes the
//! place of the whole, in Emacs too, and nothing of it is shown or exported. (A line of its own above the result stays
//! there when Emacs runs the block again, and so does one below the keyword of a result with a hash.)

/// The keyword of notes.
const KEY: &str = "#+attr_borges:";
const BEGIN: &str = ":results:";
const END: &str = ":end:";

/// The lines of a result with a note.
pub(super) fn add_note(lines: &str, note: &str) -> String {
    within(lines, note, "")
}

/// The lines of a result that stays, with another note than they may have had; `blanks` stand before each line.
pub(super) fn replace_note(old: &str, note: &str, blanks: &str) -> String {
    let known = old.lines().take(2).find(|line| begins(line.trim_start(), KEY));
    match known {
        Some(line) => old.replacen(line, &format!("{blanks}{KEY} {note}"), 1),
        None => within(old, note, blanks),
    }
}

fn within(lines: &str, note: &str, blanks: &str) -> String {
    let note = format!("{blanks}{KEY} {note}\n");
    match lines.split_once('\n') {
        // There are no drawers within drawers.
        Some((first, rest)) if is(first, BEGIN) => format!("{first}\n{note}{rest}"),
        _ if lines.lines().any(ends_drawer) => note + lines,
        _ => format!("{blanks}{BEGIN}\n{note}{lines}{blanks}{END}\n"),
    }
}

/// What would end a drawer round it: its end, or a headline.
fn ends_drawer(line: &str) -> bool {
    let stars = line.bytes().take_while(|&byte| byte == b'*').count();
    is(line, END) || (stars > 0 && line[stars..].starts_with(' '))
}

fn is(line: &str, word: &str) -> bool {
    line.trim().eq_ignore_ascii_case(word)
}

fn begins(line: &str, word: &str) -> bool {
    line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases = [
            "",
            ": a\n",
            "[[file:a]]\n",
            ":results:\n| a |\n:end:\n",
            "#+begin_example\n:end:\n#+end_example\n",
        ];
        let mut shown = String::new();
        for lines in cases {
            let once = add_note(lines, ":state skipped");
            shown += &format!("{lines}→\n{once}\n");
            assert_eq!(replace_note(&once, ":exit 3", ""), add_note(lines, ":exit 3"));
        }
        insta::assert_snapshot!(shown);
    }
}
