//! `<<name>>` in bodies: found, and replaced by the bodies they name, as `org-babel-expand-noweb-references`
//! does when a block is to run.
//!
//! Two ways from Emacs, each told in `integration/org/DIFFERENCES.org`: what a name stands for depends on the
//! document alone, not on what was expanded before; and what is expanded is bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use memchr::{memchr, memmem};

use super::document::{Block, Document, Position, Value};
use super::heading;
use super::label::Labels;
use super::structure::position;
use super::text::{Text, decode, is_blank};

/// Why a body cannot be expanded, and where the reference stands that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The reference, or the line it stands on.
    pub at: Position,
    /// What is wrong with it.
    pub kind: TroubleKind,
}

/// Why a body cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TroubleKind {
    /// `<<name(…)>>` wants a block's result; this is what stands in the brackets.
    Call(String),
    /// Blocks refer to each other in a circle: the lines they begin on, in the order of the references.
    Circle(Vec<u32>),
    /// More references in each other than anyone writes.
    Deep,
    /// More text than can be held.
    Large,
    /// The header arguments of the block referred to cannot be read.
    Unreadable(String),
}

/// A body as it would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable<'a> {
    /// Its code.
    pub text: Cow<'a, [u8]>,
    /// The first reference that nothing in the document answers to, which has become nothing: its place, and
    /// what it names.
    pub missing: Option<(Position, String)>,
}

/// A body with the references in it replaced.
#[derive(Debug, Default)]
struct Expansion {
    text: Vec<u8>,
    missing: Option<(Position, String)>,
}

/// How many references may stand in each other.
const DEEPEST: usize = 200;
/// Bytes that any document may expand to, and how many more for each byte of it.
const BUDGET: (usize, usize) = (64 << 20, 8);

/// The bodies of a document, as they would run.
#[derive(Debug)]
pub struct Bodies<'d> {
    text: Text<'d>,
    blocks: &'d [Block],
    /// The first block of each name, in small letters.
    names: HashMap<String, usize>,
    /// What is under headings with a `CUSTOM_ID`; looked for when first asked for.
    headings: Option<HashMap<String, Range<usize>>>,
    /// Blocks by their `:noweb-ref`, in document order.
    shared: HashMap<&'d str, Vec<usize>>,
    known: HashMap<usize, Rc<Expansion>>,
    /// The blocks that are being expanded, outermost first.
    open: Vec<usize>,
    budget: usize,
    labels: Labels,
}

impl<'d> Bodies<'d> {
    /// The bodies of `document`, which was read from `source`.
    pub fn new(source: &'d [u8], document: &'d Document) -> Self {
        let blocks = &document.blocks;
        let mut names = HashMap::new();
        let mut shared: HashMap<&str, Vec<usize>> = HashMap::new();
        // A block without a language is nothing to refer to.
        for (place, block) in blocks.iter().enumerate().filter(|(_, block)| block.language.is_some()) {
            if let Some(name) = block.name.as_ref().filter(|_| !block.old_name) {
                names.entry(name.to_lowercase()).or_insert(place);
            }
            if let Some(Value::Text(reference)) = value(block, ":noweb-ref")
                && !block.commented
            {
                shared.entry(reference).or_default().push(place);
            }
        }
        let budget = source.len().saturating_mul(BUDGET.1).saturating_add(BUDGET.0);
        let text = Text::new(source);
        let (known, open, labels) = (HashMap::new(), Vec::new(), Labels::default());
        Self { text, blocks, names, headings: None, shared, known, open, budget, labels }
    }

    /// The code that would run: references expanded where `:noweb` says so, `(ref:label)`s taken off.
    ///
    /// `place` is the block's among the document's blocks; where there is none, the code is empty.
    pub fn run_body(&mut self, place: usize) -> Result<Runnable<'d>, Trouble> {
        let Some(block) = self.blocks.get(place) else {
            return Ok(Runnable { text: Cow::Borrowed(b""), missing: None });
        };
        if !expands(block) {
            return Ok(Runnable { text: self.labels.off(block, &block.body), missing: None });
        }
        let expansion = self.expanded(place)?;
        let text = Cow::Owned(self.labels.off(block, &expansion.text).into_owned());
        Ok(Runnable { text, missing: expansion.missing.clone() })
    }

    /// The body with its references expanded, whatever its `:noweb` says.
    pub(super) fn expand(&mut self, place: usize) -> Result<Vec<u8>, Trouble> {
        self.expanded(place).map(|expansion| expansion.text.clone())
    }

    fn expanded(&mut self, place: usize) -> Result<Rc<Expansion>, Trouble> {
        if let Some(known) = self.known.get(&place) {
            return Ok(Rc::clone(known));
        }
        self.open.push(place);
        let result = self.replace(place).map(Rc::new);
        self.open.pop();
        let expansion = result?;
        self.known.insert(place, Rc::clone(&expansion));
        Ok(expansion)
    }

    fn replace(&mut self, place: usize) -> Result<Expansion, Trouble> {
        let block = &self.blocks[place];
        let first = block.begin_line.saturating_add(1);
        let prefixed = match value(block, ":noweb-prefix") {
            None => true,
            Some(Value::None) => false,
            Some(Value::Text(text)) => text != "no" && text != "nil",
            Some(_) => true,
        };
        let mut out = Expansion::default();
        self.spend(block.body.len(), first)?;
        for (number, line) in (first..).zip(block.body.split(|&b| b == b'\n')) {
            if number > first {
                out.text.push(b'\n');
            }
            let mut from = 0;
            while let Some((open, close)) = reference(line, from) {
                let prefix = &line[from..open];
                out.text.extend_from_slice(prefix);
                let id = decode(&line[open + 2..close - 2]);
                let filling = self.filling(&id, number, &mut out.missing)?;
                if prefixed {
                    let lines = memchr::memchr2_iter(b'\n', b'\r', &filling).count();
                    let cost = filling.len().saturating_add(lines.saturating_mul(prefix.len()));
                    self.spend(cost.saturating_add(64), number)?;
                    for (n, piece) in filling.split(|&b| b == b'\n' || b == b'\r').enumerate() {
                        if n > 0 {
                            out.text.push(b'\n');
                            out.text.extend_from_slice(prefix);
                        }
                        out.text.extend_from_slice(piece);
                    }
                } else {
                    self.spend(filling.len().saturating_add(64), number)?;
                    out.text.extend_from_slice(&filling);
                }
                from = close;
            }
            out.text.extend_from_slice(&line[from..]);
        }
        Ok(out)
    }

    /// What the reference to `id` on line `number` stands for.
    fn filling(
        &mut self,
        id: &str,
        number: u32,
        missing: &mut Option<(Position, String)>,
    ) -> Result<Vec<u8>, Trouble> {
        if let Some(open) = id.find('(')
            && id[open..].contains(')')
        {
            return Err(self.trouble(id, number, TroubleKind::Call(id.to_owned())));
        }
        // A heading stands for all that is under it, as it is written.
        let headings = self.headings.get_or_insert_with(|| heading::by_custom_id(self.text));
        if let Some(range) = headings.get(&id.to_lowercase()) {
            let section = shown(self.text, &self.text.bytes[range.clone()]);
            self.spend(section.len(), number)?;
            return Ok(section);
        }
        // A name stands for its block, unless that is commented; a block without a name of its own lends
        // itself by `:noweb-ref`.
        let named = self.names.get(&id.to_lowercase()).filter(|&&place| !self.blocks[place].commented);
        let places = match named {
            Some(&place) => vec![place],
            None => self.shared.get(id).cloned().unwrap_or_default(),
        };
        if places.is_empty() && missing.is_none() {
            *missing = Some((self.find(id, number), id.to_owned()));
        }
        let mut text = Vec::new();
        for (n, &place) in places.iter().enumerate() {
            let block = &self.blocks[place];
            if let Some((_, why)) = &block.error {
                return Err(self.trouble(id, number, TroubleKind::Unreadable(why.clone())));
            }
            if expands(block) {
                if let Some(start) = self.open.iter().position(|&open| open == place) {
                    let lines = self.open[start..].iter().map(|&open| self.blocks[open].begin_line).collect();
                    return Err(self.trouble(id, number, TroubleKind::Circle(lines)));
                }
                if self.open.len() >= DEEPEST {
                    return Err(self.trouble(id, number, TroubleKind::Deep));
                }
                let expansion = self.expanded(place)?;
                self.spend(expansion.text.len(), number)?;
                text.extend_from_slice(&expansion.text);
                *missing = missing.take().or_else(|| expansion.missing.clone());
            } else {
                self.spend(block.body.len(), number)?;
                text.extend_from_slice(&block.body);
            }
            if n + 1 < places.len() {
                let separator = match value(block, ":noweb-sep") {
                    Some(Value::Text(separator)) => separator.as_bytes(),
                    _ => b"\n",
                };
                self.spend(separator.len(), number)?;
                text.extend_from_slice(separator);
            }
        }
        Ok(text)
    }

    fn spend(&mut self, cost: usize, number: u32) -> Result<(), Trouble> {
        self.budget = self.budget.saturating_sub(cost);
        if self.budget > 0 {
            return Ok(());
        }
        Err(Trouble { at: Position { line: number, column: 0 }, kind: TroubleKind::Large })
    }

    fn trouble(&self, id: &str, number: u32, kind: TroubleKind) -> Trouble {
        Trouble { at: self.find(id, number), kind }
    }

    /// Where the reference to `id` on line `number` stands.
    fn find(&self, id: &str, number: u32) -> Position {
        let line = self.text.bytes.split(|&b| b == b'\n').nth(number.saturating_sub(1) as usize);
        let at = line.and_then(|line| memmem::find(line, format!("<<{id}>>").as_bytes()));
        match (line, at) {
            (Some(line), Some(at)) => position(line, number, at),
            _ => Position { line: number, column: 0 },
        }
    }
}

/// `bytes` with newlines for line ends.
fn shown(text: Text<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) if text.crlf => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

/// The value in force of a block's argument.
fn value<'b>(block: &'b Block, key: &str) -> Option<&'b Value> {
    block.params.iter().find(|param| param.key == key).map(|param| &param.value)
}

/// Whether `:noweb` asks for references to be expanded when the block runs.
pub(super) fn expands(block: &Block) -> bool {
    let Some(Value::Text(words)) = value(block, ":noweb") else { return false };
    let asks = |word| matches!(word, "yes" | "no-export" | "strip-export" | "eval" | "strip-tangle");
    words.split_whitespace().any(asks)
}

/// The first reference of a line from byte `from` on: where it begins and ends.
fn reference(line: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        at += memmem::find(line.get(at..)?, b"<<")?;
        if line.get(at + 2).is_some_and(|&b| !is_blank(b)) {
            break;
        }
        at += 1;
    }
    // If nothing closes this one, nothing closes one that opens later.
    let mut end = at + 3;
    loop {
        end += memchr(b'>', line.get(end..)?)?;
        if line.get(end + 1) == Some(&b'>') && !is_blank(line[end - 1]) {
            return Some((at, end + 2));
        }
        end += 1;
    }
}

/// What is wrong, for a person.
impl std::fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(call) => write!(f, "`<<{call}>>` wants the result of a block"),
            Self::Circle(lines) => {
                let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                let last = lines.first().cloned().unwrap_or_default();
                write!(f, "the blocks at lines {} → {last} refer to each other", lines.join(" → "))
            }
            Self::Deep => write!(f, "more than {DEEPEST} references stand in each other"),
            Self::Large => f.write_str("the references of this document expand to more than can be held"),
            Self::Unreadable(why) => write!(f, "the header arguments of the block cannot be read: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::org::parse;

    fn bodies(source: &str) -> Vec<String> {
        let document = parse(source.as_bytes(), &[]);
        let mut bodies = Bodies::new(source.as_bytes(), &document);
        let shown = |body: Result<Runnable<'_>, Trouble>| match body {
            Ok(Runnable { text, missing }) => {
                let missing = missing.map(|(at, id)| format!(" ({}:{} {id}?)", at.line, at.column));
                format!("{}{}", String::from_utf8_lossy(&text), missing.unwrap_or_default())
            }
            Err(Trouble { at, kind }) => format!("{}:{}: {kind}", at.line, at.column),
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
    #[case::call("  x=<<two()>>", "7:5: `<<two()>>` wants the result of a block")]
    #[case::call_with_arguments("<<two(a=1)>>", "7:1: `<<two(a=1)>>` wants the result of a block")]
    fn references(#[case] line: &str, #[case] expected: &str) {
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
    fn when_it_expands(#[case] noweb: &str, #[case] expands: bool) {
        let body = last(&format!("{TWO}#+begin_src sh :noweb {noweb}\n<<two>>\n#+end_src\n"));
        assert_eq!(body, if expands { "a\nb" } else { "<<two>>" });
    }

    #[test]
    fn a_chain_goes_on_only_where_the_block_says_so() {
        let source = "#+name: a\n#+begin_src sh :noweb yes\n<<b>>\n#+end_src\n\
                      #+name: b\n#+begin_src sh\n<<c>>\n#+end_src\n\
                      #+name: c\n#+begin_src sh\nend\n#+end_src\n\
                      #+begin_src sh :noweb yes\n- <<a>>\n#+end_src\n";
        assert_eq!(bodies(source), ["<<c>>", "<<c>>", "end", "- <<c>>"]);
    }

    #[test]
    fn blocks_share_a_reference() {
        let source = "#+begin_src sh :noweb-ref r :noweb-sep \", \"\n1\n#+end_src\n\
                      * COMMENT c\n#+begin_src sh :noweb-ref r\n2\n#+end_src\n* d\n\
                      #+begin_src sh :noweb-ref r :noweb-sep !\n3\n4\n#+end_src\n\
                      #+begin_src sh :noweb yes\n(<<r>>)\n#+end_src\n\
                      #+begin_src sh :noweb yes :noweb-prefix no\n(<<r>>)\n#+end_src\n";
        assert_eq!(bodies(source)[3..], ["(1, 3\n(4)", "(1, 3\n4)"]);
    }

    #[test]
    fn headings_lend_what_is_under_them() {
        let source = "* a\n:PROPERTIES:\n:CUSTOM_ID: x\n:END:\nmkdir x\n* b\n\
                      #+begin_src sh :noweb yes\n<<X>>\n#+end_src\n";
        assert_eq!(last(source), "mkdir x");
        assert_eq!(last(&source.replace('\n', "\r\n")), "mkdir x");
    }

    #[test]
    fn circles_are_told_with_their_lines() {
        let block = |name: &str, body: &str| {
            format!("#+name: {name}\n#+begin_src sh :noweb yes\n{body}\n#+end_src\n")
        };
        let source = block("a", "<<b>>") + &block("b", "x <<a>>") + &block("c", "<<c>>");
        insta::assert_snapshot!(bodies(&source).join("\n"), @r"
        7:3: the blocks at lines 2 → 6 → 2 refer to each other
        3:1: the blocks at lines 6 → 2 → 6 refer to each other
        11:1: the blocks at lines 10 → 10 refer to each other
        ");
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let mut source = String::from("#+name: b0\n#+begin_src sh\n0123456789\n#+end_src\n");
        for n in 1..60 {
            let reference = format!("<<b{}>>", n - 1);
            let block =
                format!("#+name: b{n}\n#+begin_src sh :noweb yes\n{reference}{reference}\n#+end_src\n");
            source.push_str(&block);
        }
        let troubles = bodies(&source);
        assert!(troubles[59].contains("more than can be held"), "{}", troubles[59].len());
        // Nothing times two is nothing, but finding that out must not take two to the sixtieth steps.
        assert_eq!(last(&source.replace("0123456789\n", "")), "");
    }

    #[test]
    fn deep_chains_end() {
        let mut source = String::from("#+name: b0\n#+begin_src sh\nx\n#+end_src\n");
        for n in 1..1000 {
            let next = (n + 1) % 1000;
            let block = format!("#+name: b{n}\n#+begin_src sh :noweb yes\n<<b{next}>>\n#+end_src\n");
            source.push_str(&block);
        }
        assert!(bodies(&source)[1].contains("more than 200 references"));
    }

    #[test]
    fn labels_go() {
        let body = |header: &str, line: &str| last(&format!("#+begin_src sh{header}\n{line}\n#+end_src\n"));
        assert_eq!(body("", "a (ref:x)\nb # (REF:y z)  "), "a\nb #");
        assert_eq!(body(" -l \"[%s]\"", "a (ref:x) [y]"), "a (ref:x)");
        let source = format!("{TWO}#+begin_src sh :noweb yes\n<<two>> (ref:x)\n#+end_src\n");
        assert_eq!(last(&source), "a\nb");
    }
}
