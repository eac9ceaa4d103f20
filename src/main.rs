//! The program `borges`: sets the allocator, and calls the command line in `borges_cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    borges_cli::main()
}
