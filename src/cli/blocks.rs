//! `borges blocks`: what the grammar sees.

use std::io::{self, BufWriter, Write};

use super::args::{BlocksArguments, Format};
use super::exit::Exit;
use super::input;
use borges_org as org;

/// Shows the blocks of each file; one that cannot be read is said, and the others are shown all the same.
pub(super) fn blocks(arguments: &BlocksArguments) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Success;
    for path in &arguments.files {
        let name = input::shown(path);
        let source = match input::contents(path) {
            Ok(source) => source,
            Err(wrong) => {
                exit = wrong;
                continue;
            }
        };
        let document = org::parse(&source, &[]);
        let written = match arguments.format {
            Format::Json => writeln!(out, "{}", org::report(&name, &source, &document)),
            Format::Text => document.blocks.iter().try_for_each(|block| {
                let language = block.language.as_deref().unwrap_or("-");
                let title = block.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
                writeln!(out, "{name}:{}: {language}{title}", block.begin_line)
            }),
        };
        if written.is_err() {
            // Whoever read us has heard enough.
            break;
        }
    }
    let _reader_gone = out.flush();
    exit
}
