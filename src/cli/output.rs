//! What blocks say, under their names.
//!
//! As `tail -f a b` shows two files: a line `==> NAME <==` whenever the speaker changes, and then the bytes
//! as they are.

use std::collections::HashMap;
use std::io::{self, Write};

use super::backend::{Backend, BackendError};
use borges_engine::FileRead;
use borges_task::LaunchId;

/// One of a block's two streams.
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

/// Passes on what launches write, to our own stdout and stderr.
#[derive(Debug, Default)]
pub(super) struct Output {
    read: HashMap<(LaunchId, Stream), u64>,
    stdout: PrefixedWriter,
    stderr: PrefixedWriter,
}

/// One of our streams: who spoke last, and how.
#[derive(Debug, Default)]
struct PrefixedWriter {
    speaker: Option<LaunchId>,
    mid_line: bool,
}

/// How much is read at once.
const CHUNK: usize = 256 << 10;

impl Output {
    /// Passes on what `launch` of the block `name` has written since the last time.
    pub(super) async fn forward(
        &mut self,
        host: &Backend,
        launch: LaunchId,
        name: &str,
    ) -> Result<(), BackendError> {
        let mut open = vec![Stream::Stdout, Stream::Stderr];
        while !open.is_empty() {
            let offset = |stream| self.read.get(&(launch, stream)).copied().unwrap_or_default();
            let streams: Vec<_> = open.iter().map(|&stream| (stream.name(), offset(stream))).collect();
            let pieces = host.read(launch, &streams, CHUNK).await?;
            let mut more = Vec::new();
            for (stream, piece) in open.into_iter().zip(pieces) {
                match piece {
                    FileRead::NotFound => {}
                    FileRead::Bytes { bytes, .. } if bytes.is_empty() => {}
                    FileRead::Bytes { from, bytes, .. } => {
                        self.skip(launch, name, stream, from);
                        self.say(launch, name, stream, &bytes);
                        if bytes.len() == CHUNK {
                            more.push(stream);
                        }
                    }
                    FileRead::Directory => {}
                    FileRead::Unreadable(why) | FileRead::BadPath(why) => {
                        self.note(&format!("{name}: what it wrote cannot be read: {why}"));
                    }
                }
            }
            open = more;
        }
        Ok(())
    }

    /// What is said next begins here: what lies between is missing, if anything does.
    fn skip(&mut self, launch: LaunchId, name: &str, stream: Stream, from: u64) {
        let read = self.read.entry((launch, stream)).or_default();
        let missing = from.saturating_sub(*read);
        *read += missing;
        if missing > 0 {
            self.note(&format!("{name}: {missing} bytes of its {} are not kept any more", stream.name()));
        }
    }

    fn say(&mut self, launch: LaunchId, name: &str, stream: Stream, bytes: &[u8]) {
        *self.read.entry((launch, stream)).or_default() += bytes.len() as u64;
        // Whoever read us may have heard enough; the blocks run on all the same.
        let _reader_gone = match stream {
            Stream::Stdout => self.stdout.say(&mut io::stdout().lock(), launch, name, bytes),
            Stream::Stderr => {
                let name = format!("{name} (stderr)");
                self.stderr.say(&mut io::stderr().lock(), launch, &name, bytes)
            }
        };
    }

    /// Nothing more comes of this launch.
    pub(super) fn close(&mut self, launch: LaunchId) {
        self.read.remove(&(launch, Stream::Stdout));
        self.read.remove(&(launch, Stream::Stderr));
    }

    /// Says a line of our own on stderr.
    pub(super) fn note(&mut self, line: &str) {
        let mut stderr = io::stderr().lock();
        let end = if std::mem::take(&mut self.stderr.mid_line) { "\n" } else { "" };
        self.stderr.speaker = None;
        let _reader_gone = writeln!(stderr, "{end}{line}");
    }

    /// Nothing more comes at all: a last line without its end gets one.
    pub(super) fn finish(&mut self) {
        if self.stdout.mid_line {
            let _reader_gone = io::stdout().lock().write_all(b"\n");
        }
        if self.stderr.mid_line {
            let _reader_gone = io::stderr().lock().write_all(b"\n");
        }
    }
}

impl PrefixedWriter {
    fn say(&mut self, to: &mut impl Write, launch: LaunchId, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.speaker != Some(launch) {
            if std::mem::take(&mut self.mid_line) {
                to.write_all(b"\n")?;
            }
            let gap = if self.speaker.is_some() { "\n" } else { "" };
            writeln!(to, "{gap}==> {name} <==")?;
            self.speaker = Some(launch);
        }
        to.write_all(bytes)?;
        self.mid_line = bytes.last() != Some(&b'\n');
        to.flush()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use borges_task::RunId;

    #[test]
    fn a_header_stands_where_the_speaker_changes() {
        let launch = |number| RunId(Uuid::nil()).task(number).launch(1);
        let mut voice = PrefixedWriter::default();
        let mut out = Vec::new();
        for (number, name, text) in
            [(1, "a", "one\n"), (1, "a", "two"), (2, "b", "three\n"), (1, "a", "four\n")]
        {
            voice.say(&mut out, launch(number), name, text.as_bytes()).unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "==> a <==\none\ntwo\n\n==> b <==\nthree\n\n==> a <==\nfour\n"
        );
    }
}
