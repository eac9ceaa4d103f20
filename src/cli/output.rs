//! Prints the output of blocks, each under the name of its block.
//!
//! The format is that of `tail -f a b`: a line `==> NAME <==` whenever the block changes, then the bytes unchanged.

use std::collections::HashMap;
use std::io::{self, Write};

use super::backend::{Backend, BackendError};
use borges_engine::FileRead;
use borges_task::LaunchId;

/// One of the two output streams of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Forwards the output of launches to the stdout and stderr of this process.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// The number of bytes already forwarded.
    offsets: HashMap<(LaunchId, Stream), u64>,
    stdout: PrefixedWriter,
    stderr: PrefixedWriter,
}

/// A stream of this process, with the launch that wrote last to it.
#[derive(Debug, Default)]
struct PrefixedWriter {
    last_launch: Option<LaunchId>,
    mid_line: bool,
}

/// The largest chunk read at once, in bytes.
const CHUNK_SIZE: usize = 256 << 10;

impl Output {
    /// Forwards the bytes that `launch` of the block `name` has written since the last call.
    pub(super) async fn forward(
        &mut self,
        backend: &Backend,
        launch: LaunchId,
        name: &str,
    ) -> Result<(), BackendError> {
        let mut open = vec![Stream::Stdout, Stream::Stderr];
        while !open.is_empty() {
            let offset = |stream| self.offsets.get(&(launch, stream)).copied().unwrap_or_default();
            let streams: Vec<_> = open.iter().map(|&stream| (stream.name(), offset(stream))).collect();
            let chunks = backend.read(launch, &streams, CHUNK_SIZE).await?;
            let mut unfinished = Vec::new();
            for (stream, chunk) in open.into_iter().zip(chunks) {
                match chunk {
                    FileRead::NotFound => {}
                    FileRead::Bytes { bytes, .. } if bytes.is_empty() => {}
                    FileRead::Bytes { from, bytes, .. } => {
                        self.skip_to(launch, name, stream, from);
                        self.write(launch, name, stream, &bytes);
                        if bytes.len() == CHUNK_SIZE {
                            unfinished.push(stream);
                        }
                    }
                    FileRead::Directory => {}
                    FileRead::Unreadable(why) | FileRead::BadPath(why) => {
                        self.note(&format!("{name}: what it wrote cannot be read: {why}"));
                    }
                }
            }
            open = unfinished;
        }
        Ok(())
    }

    /// Moves the offset of a stream to `from`, and reports the skipped bytes: they are no longer available.
    fn skip_to(&mut self, launch: LaunchId, name: &str, stream: Stream, from: u64) {
        let offset = self.offsets.entry((launch, stream)).or_default();
        let missing = from.saturating_sub(*offset);
        *offset += missing;
        if missing > 0 {
            self.note(&format!("{name}: {missing} bytes of its {} are not kept any more", stream.name()));
        }
    }

    fn write(&mut self, launch: LaunchId, name: &str, stream: Stream, bytes: &[u8]) {
        *self.offsets.entry((launch, stream)).or_default() += bytes.len() as u64;
        // The reader of the pipe may have closed it. The blocks continue.
        let _closed_pipe = match stream {
            Stream::Stdout => self.stdout.write(&mut io::stdout().lock(), launch, name, bytes),
            Stream::Stderr => {
                let name = format!("{name} (stderr)");
                self.stderr.write(&mut io::stderr().lock(), launch, &name, bytes)
            }
        };
    }

    /// Forgets the offsets of a launch that writes no more.
    pub(super) fn close(&mut self, launch: LaunchId) {
        self.offsets.remove(&(launch, Stream::Stdout));
        self.offsets.remove(&(launch, Stream::Stderr));
    }

    /// Writes a message of the program to stderr, on a line of its own.
    pub(super) fn note(&mut self, line: &str) {
        let mut stderr = io::stderr().lock();
        let newline = if std::mem::take(&mut self.stderr.mid_line) { "\n" } else { "" };
        self.stderr.last_launch = None;
        let _closed_pipe = writeln!(stderr, "{newline}{line}");
    }

    /// Ends an unfinished last line of each stream.
    pub(super) fn finish(&mut self) {
        if self.stdout.mid_line {
            let _closed_pipe = io::stdout().lock().write_all(b"\n");
        }
        if self.stderr.mid_line {
            let _closed_pipe = io::stderr().lock().write_all(b"\n");
        }
    }
}

impl PrefixedWriter {
    fn write(&mut self, out: &mut impl Write, launch: LaunchId, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.last_launch != Some(launch) {
            if std::mem::take(&mut self.mid_line) {
                out.write_all(b"\n")?;
            }
            let gap = if self.last_launch.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}==> {name} <==")?;
            self.last_launch = Some(launch);
        }
        out.write_all(bytes)?;
        self.mid_line = bytes.last() != Some(&b'\n');
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use borges_task::RunId;

    #[test]
    fn header_precedes_output_of_another_launch() {
        let launch = |number| RunId(Uuid::nil()).task(number).launch(1);
        let mut writer = PrefixedWriter::default();
        let mut out = Vec::new();
        for (number, name, text) in
            [(1, "a", "one\n"), (1, "a", "two"), (2, "b", "three\n"), (1, "a", "four\n")]
        {
            writer.write(&mut out, launch(number), name, text.as_bytes()).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "==> a <==\none\ntwo\n\n==> b <==\nthree\n\n==> a <==\nfour\n"
        );
    }
}
