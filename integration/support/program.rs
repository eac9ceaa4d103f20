//! The program under test.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The path of the program under test. Its file is called `borges`, because the program shows its own name in messages,
/// and starts its agents by its own path.
///
/// Cargo builds it for tests and benchmarks under the name `borges-test-program`, so it is a hard link to that.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let built = built();
        let folder = built.with_file_name("program-under-test");
        let path = folder.join("borges");
        if !same_file(&built, &path) {
            fs::create_dir_all(&folder).unwrap();
            // Other test processes may do the same at the same time: each replaces the link as a whole.
            let link = folder.join(format!("borges.{}", std::process::id()));
            fs::hard_link(&built, &link)
                .unwrap_or_else(|error| panic!("{} cannot be linked: {error}", built.display()));
            fs::rename(&link, &path).unwrap();
            // A rename between two links of one file leaves both.
            let _ = fs::remove_file(&link);
        }
        path
    })
}

/// The program as Cargo has built it: two folders above the running test or benchmark, unless Cargo says otherwise.
fn built() -> PathBuf {
    env::var_os("CARGO_BIN_EXE_borges-test-program").map_or_else(
        || {
            let test = env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("borges-test-program")
        },
        PathBuf::from,
    )
}

fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    id(other).is_some_and(|other| id(one) == Some(other))
}
