//! The program that tests and benchmarks run: `src/main.rs` once more.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    borges_cli::main()
}
