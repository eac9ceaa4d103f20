//! Benchmark 14: values handed on, in a chain and in a fan, beside the same blocks that hand nothing on.
//!
//! What is measured is the CPU of everything: Borges, its agent, and the blocks. The blocks are the same on both sides, so
//! what the sides differ by is what the edges cost: to wait, to read a value out of a sandbox, and to put it into the next.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::block_overhead::ran;
use crate::measure::Spread;
use crate::{Row, message};

/// How blocks stand to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GraphShape {
    /// Each is given what the one before has come to.
    Chain,
    /// All are given what the first has come to.
    Fan,
}

/// Edges of the largest document; a half and a quarter are measured too.
const CHAIN: usize = 1_000;
const FAN: usize = 10_000;

pub(crate) fn measured(rounds: usize) -> Result<Vec<Row>, String> {
    let dir = tempfile::tempdir().map_err(message)?;
    let mut rows = Vec::new();
    for (shape, most, name) in [(GraphShape::Chain, CHAIN, "chain"), (GraphShape::Fan, FAN, "fan")] {
        let counts = [most / 4, most / 2, most];
        let mut taken: [Vec<[f64; 2]>; 3] = Default::default();
        for round in 1..=rounds.max(1) {
            eprintln!("benchmark 14, {name}, round {round} of {}", rounds.max(1));
            for (taken, count) in taken.iter_mut().zip(counts) {
                taken.push([cost(dir.path(), shape, count, true)?, cost(dir.path(), shape, count, false)?]);
            }
        }
        let mut before: Option<f64> = None;
        for (taken, count) in taken.iter().zip(counts) {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let edges = count as f64;
            let with = Spread::of(taken.iter().map(|[with, _]| with * 1e6 / edges));
            let without = Spread::of(taken.iter().map(|[_, without]| without * 1e6 / edges));
            let edge = Spread::of(taken.iter().map(|[with, without]| (with - without) * 1e6 / edges));
            let mut figures = vec![
                edge.text(0, "µs CPU an edge"),
                with.text(0, "µs a block in all"),
                format!("{:.2} × without edges", with.median / without.median),
            ];
            let whole = with.median * edges;
            figures.extend(before.map(|before| format!("{:.2} × that of half as many", whole / before)));
            before = Some(whole);
            rows.push(Row {
                benchmark: 14,
                work: format!("a value handed on in a {name}, {} rounds", taken.len()),
                contender: format!("{count} edges"),
                figures,
            });
        }
    }
    Ok(rows)
}

/// Seconds of CPU that a run takes.
fn cost(dir: &Path, shape: GraphShape, edges: usize, handed: bool) -> Result<f64, String> {
    let path = dir.join("values.org");
    fs::write(&path, document(shape, edges, handed)).map_err(message)?;
    Ok(ran(dir, &path, None, edges + 1)?.cpu.as_secs_f64())
}

/// A block, and as many more as there are edges. Each fails where it is not given what it should be.
fn document(shape: GraphShape, edges: usize, handed: bool) -> String {
    let mut text = "#+name: b0\n#+begin_src sh :cpu 0.5\necho 0\n#+end_src\n".to_owned();
    for n in 1..=edges {
        let (from, value) = if shape == GraphShape::Chain { (n - 1, n - 1) } else { (0, 0) };
        let given = if handed { format!("b{from}") } else { value.to_string() };
        let _ = writeln!(
            text,
            "#+name: b{n}\n#+begin_src sh :cpu 0.5 :var x={given}\n[ \"$x\" = {value} ] && echo {n}\n#+end_src"
        );
    }
    text
}
