//! Reads the files that a launch has written into its sandbox.

use bytes::Bytes;

use borges_babel::VALUE;
use borges_mesos::{Sandbox, SandboxError, SandboxLocation};
use borges_store::CachedResult;

/// The largest value that a block may hand to another block or to the document, in bytes.
pub(super) const MAX_VALUE_BYTES: u64 = 8 << 20;
/// Bytes read in one request.
pub(super) const READ_CHUNK: usize = 1 << 20;
/// The remedy in the errors about values above [`MAX_VALUE_BYTES`].
pub(super) const VALUE_TOO_LARGE: &str = "hand on a file instead, by its name";

/// The files of a sandbox from which the result of a block is computed.
#[derive(Debug, Clone)]
pub(super) struct SandboxOutput {
    pub(super) stdout: Bytes,
    pub(super) value: Option<Bytes>,
}

/// The outputs of tasks by number, or why an output cannot be read.
pub(super) type SandboxOutputs = Vec<(u32, Result<SandboxOutput, String>)>;

impl From<CachedResult> for SandboxOutput {
    fn from(CachedResult { stdout, value, .. }: CachedResult) -> Self {
        Self { stdout, value }
    }
}

/// Reads the output of a launch from its sandbox.
pub(super) async fn read_sandbox_output(
    sandbox: &dyn Sandbox,
    location: &SandboxLocation,
) -> Result<SandboxOutput, String> {
    let value = read_file(sandbox, location, VALUE).await?;
    let stdout = read_file(sandbox, location, "block/stdout").await?;
    Ok(SandboxOutput { stdout: stdout.unwrap_or_default(), value })
}

/// The content of a file of a sandbox. `None` if the file does not exist. `Err` above [`MAX_VALUE_BYTES`].
async fn read_file(
    sandbox: &dyn Sandbox,
    location: &SandboxLocation,
    path: &str,
) -> Result<Option<Bytes>, String> {
    let mut content: Vec<u8> = Vec::new();
    loop {
        let chunk = match sandbox.read(location, path, content.len() as u64, READ_CHUNK).await {
            Ok(chunk) => chunk,
            Err(SandboxError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if chunk.size > MAX_VALUE_BYTES {
            return Err(format!(
                "it is {} bytes, and at most {MAX_VALUE_BYTES} are taken: {VALUE_TOO_LARGE}",
                chunk.size
            ));
        }
        if chunk.bytes.is_empty() {
            return Ok(Some(content.into()));
        }
        let is_complete = content.is_empty() && chunk.bytes.len() as u64 >= chunk.size;
        if is_complete {
            return Ok(Some(chunk.bytes));
        }
        content.extend_from_slice(&chunk.bytes);
    }
}
