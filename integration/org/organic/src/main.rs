//! `by-organic FILE…`: an object a file and line, with the blocks that organic sees, what it tells of each, and the
//! seconds of CPU it took; each file's is written before the next one is read, for organic may stop at any.

use std::time::Duration;
use std::{env, fs};

use organic::settings::{FileAccessInterface, GlobalSettings};
use organic::types::{AstNode, Document, StandardProperties};
use serde_json::{Value, json};

/// Setupfiles that are empty: without them organic would read nothing of a document that names one.
struct NoFiles;

impl FileAccessInterface for NoFiles {
    fn read_file(&self, _: &str) -> std::io::Result<String> {
        Ok(String::new())
    }
}

fn main() {
    for path in env::args().skip(1) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let before = cpu();
        let settings = GlobalSettings { file_access: &NoFiles, ..GlobalSettings::default() };
        let parsed = organic::parser::parse_with_settings(&text, &settings);
        let seconds = (cpu() - before).as_secs_f64();
        let report = match &parsed {
            Ok(document) => json!({ "file": path, "seconds": seconds, "blocks": blocks(&text, document) }),
            Err(error) => json!({ "file": path, "seconds": seconds, "error": error.to_string() }),
        };
        println!("{report}");
    }
}

fn blocks(text: &str, document: &Document<'_>) -> Vec<Value> {
    let mut blocks: Vec<Value> = AstNode::from(document)
        .iter_all_ast_nodes()
        .filter_map(|node| match node {
            AstNode::SrcBlock(block) => Some(block),
            _ => None,
        })
        .map(|block| {
            let source = block.get_source();
            let start = source.as_ptr() as usize - text.as_ptr() as usize;
            // Affiliated keywords stand before the line that counts.
            let begin = start + source.to_ascii_lowercase().find("#+begin_src").unwrap_or_default();
            json!({
                "begin_line": text[..begin].matches('\n').count() + 1,
                "language": block.language,
                "switches": block.switches.map(str::trim),
                "parameters": block.parameters.map(str::trim),
            })
        })
        .collect();
    blocks.sort_by_key(|block| block["begin_line"].as_u64());
    blocks
}

/// CPU time of this process, as the kernel tells it.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default())
}
