//! Finds where the items of a plain list end.
//!
//! A list is followed from its first item to the line that ends it: a line that is not indented more than its items,
//! two blank lines, or the end of the element around it. The contents of blocks and drawers are skipped.

use super::line::Kind;
use super::lines::Lines;
use super::text::to_u32;

#[derive(Debug, Clone, Copy)]
struct Item {
    /// The first line that is no longer its own.
    end: u32,
    /// The structure it was found in.
    structure: u32,
    /// No item was open around it.
    outermost: bool,
}

/// The structures of the lists met so far in a section.
#[derive(Debug, Default)]
pub(super) struct Lists {
    items: Vec<Item>,
    /// For each structure, the frame it was made in.
    frames: Vec<u32>,
}

impl Lists {
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.frames.clear();
    }

    /// The structure that the item at line `n` belongs to; made if there is none that holds here.
    ///
    /// `outer` is the structure of the list around, if line `n` stands directly in an item.
    pub(super) fn structure(
        &mut self,
        lines: &mut Lines,
        n: u32,
        limit: u32,
        outer: Option<u32>,
        frame: u32,
    ) -> u32 {
        if let Some(item) = self.items.get(lines.item(n) as usize) {
            let same_frame = self.frames.get(item.structure as usize) == Some(&frame);
            if Some(item.structure) == outer || item.outermost && same_frame {
                return item.structure;
            }
        }
        self.add_structure(lines, n, limit);
        self.frames.push(frame);
        to_u32(self.frames.len() - 1)
    }

    /// Where the item at line `n` ends, if it belongs to `structure`.
    pub(super) fn item_end(&self, lines: &Lines, n: u32, structure: u32) -> Option<u32> {
        if lines.kind(n) != Kind::Item {
            return None;
        }
        let item = self.items.get(lines.item(n) as usize)?;
        (item.structure == structure).then_some(item.end)
    }

    /// Where the list ends whose first item stands at line `n`.
    pub(super) fn list_end(&self, lines: &Lines, n: u32, structure: u32) -> u32 {
        let indent = lines.indent(n);
        let mut at = n;
        while let Some(end) = self.item_end(lines, at, structure) {
            at = end;
            if lines.kind(at) != Kind::Item || lines.indent(at) != indent {
                break;
            }
        }
        at
    }

    fn add_structure(&mut self, lines: &mut Lines, first: u32, limit: u32) {
        let structure = to_u32(self.frames.len());
        // Items that are open: indentation, and number.
        let mut open: Vec<(u32, usize)> = Vec::new();
        let mut at = first;
        let mut after_text = first;
        let close = |items: &mut Vec<Item>, open: &mut Vec<(u32, usize)>, indent: u32, end: u32| {
            while let Some(&(_, number)) = open.last().filter(|(other, _)| indent <= *other) {
                items[number].end = end;
                open.pop();
            }
        };
        while at < limit {
            match lines.kind(at) {
                Kind::Blank if at + 1 < lines.len() && lines.kind(at + 1) == Kind::Blank => {
                    return close(&mut self.items, &mut open, 0, at);
                }
                Kind::Blank => at += 1,
                Kind::Item => {
                    let indent = lines.indent(at);
                    close(&mut self.items, &mut open, indent, at);
                    lines.set_item(at, to_u32(self.items.len()));
                    open.push((indent, self.items.len()));
                    self.items.push(Item { end: limit, structure, outermost: open.len() == 1 });
                    at += 1;
                    after_text = at;
                }
                kind => {
                    close(&mut self.items, &mut open, lines.indent(at), after_text);
                    if open.is_empty() {
                        return;
                    }
                    at = lines.skipped_in_list(at, limit) + 1;
                    if kind != Kind::Return {
                        after_text = at;
                    }
                }
            }
        }
        close(&mut self.items, &mut open, 0, after_text);
    }
}
