//! `borges blocks`: lists the source blocks of documents.

use std::io::{self, BufWriter, Write};

use super::args::{BlocksArgs, Format};
use super::exit::Exit;
use super::input;
use borges_org as org;

/// Prints the blocks of each file. An unreadable file is reported, and the other files are still printed.
pub(super) fn blocks(arguments: &BlocksArgs) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Success;
    for path in &arguments.files {
        let name = input::display_name(path);
        let source = match input::contents(path) {
            Ok(source) => source,
            Err(error) => {
                exit = error;
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
            // The reader of the pipe has closed it.
            break;
        }
    }
    let _closed_pipe = out.flush();
    exit
}
