//! Which file a program's name means.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Finds programs on a PATH, and remembers what it found.
#[derive(Debug, Default)]
pub(crate) struct PathLookup {
    /// By PATH, by name.
    found: HashMap<OsString, HashMap<String, PathBuf>>,
}

impl PathLookup {
    /// The file that `name` means on `path`.
    ///
    /// What was found is believed until it is [forgotten](Self::forget). An entry that is not absolute is
    /// relative to `directory`, and what is found there is not remembered.
    pub(crate) fn resolve(&mut self, name: &str, path: &OsStr, directory: &Path) -> Option<PathBuf> {
        if let Some(file) = self.found.get(path).and_then(|found| found.get(name)) {
            return Some(file.clone());
        }
        for entry in std::env::split_paths(path) {
            let file = directory.join(&entry).join(name);
            if is_program(&file) {
                if entry.is_absolute() {
                    self.found.entry(path.to_owned()).or_default().insert(name.to_owned(), file.clone());
                }
                return Some(file);
            }
        }
        None
    }

    /// Does not believe any more what was found for `name`.
    pub(crate) fn invalidate(&mut self, name: &str, path: &OsStr) -> bool {
        self.found.get_mut(path).is_some_and(|found| found.remove(name).is_some())
    }
}

fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_that_can_be_run_is_meant() {
        let root = tempfile::tempdir().unwrap();
        let put = |place: &str, mode: u32| {
            let file = root.path().join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        fs::create_dir_all(root.path().join("a/x")).unwrap();
        put("b/x", 0o644);
        let good = put("c/x", 0o755);
        let here = put("here/x", 0o755);
        let path = std::env::join_paths(["a", "b", "c"].map(|place| root.path().join(place))).unwrap();
        let mut programs = PathLookup::default();
        let mut find = |path: &OsStr| programs.resolve("x", path, &root.path().join("here"));
        assert_eq!(find(&path), Some(good.clone()));
        assert_eq!(find(OsStr::new(".")), Some(here.parent().unwrap().join("./x")));
        assert_eq!(find(OsStr::new("/nowhere")), None);
        fs::remove_file(&good).unwrap();
        assert_eq!(find(&path), Some(good.clone()), "remembered");
        assert!(programs.invalidate("x", &path));
        assert_eq!(programs.resolve("x", &path, root.path()), None);
        assert!(!programs.invalidate("x", &path));
    }
}
