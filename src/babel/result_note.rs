//! Adds a note to the result of a block that failed or was skipped.
//!
//! The note is a line such as `#+attr_borges: :state failed :exit 3`, the first line of a drawer around the result.
//! The next result replaces the whole drawer, in Emacs too, and the note is neither shown nor exported. A line of its
//! own above the result would stay when Emacs runs the block again, and so would a line below the keyword of a result
//! with a hash.

/// The keyword of notes.
const KEY: &str = "#+attr_borges:";
const BEGIN: &str = ":results:";
const END: &str = ":end:";

/// The lines of a result with a note.
pub(super) fn add_note(lines: &str, note: &str) -> String {
    wrap(lines, note, "")
}

/// The lines of a result that stays, with another note than they may have had; `blanks` stand before each line.
pub(super) fn replace_note(old: &str, note: &str, blanks: &str) -> String {
    let old_note = old.lines().take(2).find(|line| starts_with_word(line.trim_start(), KEY));
    match old_note {
        Some(line) => old.replacen(line, &format!("{blanks}{KEY} {note}"), 1),
        None => wrap(old, note, blanks),
    }
}

fn wrap(lines: &str, note: &str, blanks: &str) -> String {
    let note = format!("{blanks}{KEY} {note}\n");
    match lines.split_once('\n') {
        // There are no drawers within drawers.
        Some((first, rest)) if equals_word(first, BEGIN) => format!("{first}\n{note}{rest}"),
        _ if lines.lines().any(ends_drawer) => note + lines,
        _ => format!("{blanks}{BEGIN}\n{note}{lines}{blanks}{END}\n"),
    }
}

/// What would end a drawer round it: its end, or a headline.
fn ends_drawer(line: &str) -> bool {
    let stars = line.bytes().take_while(|&byte| byte == b'*').count();
    equals_word(line, END) || (stars > 0 && line[stars..].starts_with(' '))
}

fn equals_word(line: &str, word: &str) -> bool {
    line.trim().eq_ignore_ascii_case(word)
}

fn starts_with_word(line: &str, word: &str) -> bool {
    line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_added_and_replaced() {
        let cases = [
            "",
            ": a\n",
            "[[file:a]]\n",
            ":results:\n| a |\n:end:\n",
            "#+begin_example\n:end:\n#+end_example\n",
        ];
        let mut output = String::new();
        for lines in cases {
            let once = add_note(lines, ":state skipped");
            output += &format!("{lines}→\n{once}\n");
            assert_eq!(replace_note(&once, ":exit 3", ""), add_note(lines, ":exit 3"));
        }
        insta::assert_snapshot!(output);
    }
}
