//! The program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == "agent" => borges::local::agent_main(args),
        _ => ExitCode::from(2),
    }
}
