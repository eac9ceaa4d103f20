//! [`PathLookup`], which finds programs on a PATH.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Finds programs on a PATH, and caches the results.
#[derive(Debug, Default)]
pub(crate) struct PathLookup {
    /// The programs found, by PATH and by name.
    cache: HashMap<OsString, HashMap<String, PathBuf>>,
}

impl PathLookup {
    /// The program `name` on `path`; `None` if there is none.
    ///
    /// A result is cached until it is [invalidated](Self::invalidate). A relative entry of `path` is relative to
    /// `directory`, and its results are not cached.
    pub(crate) fn resolve(&mut self, name: &str, path: &OsStr, directory: &Path) -> Option<PathBuf> {
        if let Some(file) = self.cache.get(path).and_then(|programs| programs.get(name)) {
            return Some(file.clone());
        }
        for entry in std::env::split_paths(path) {
            let file = directory.join(&entry).join(name);
            if is_program(&file) {
                if entry.is_absolute() {
                    self.cache.entry(path.to_owned()).or_default().insert(name.to_owned(), file.clone());
                }
                return Some(file);
            }
        }
        None
    }

    /// Removes a cached result. `false` if there is none.
    pub(crate) fn invalidate(&mut self, name: &str, path: &OsStr) -> bool {
        self.cache.get_mut(path).is_some_and(|programs| programs.remove(name).is_some())
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
    fn the_first_executable_file_is_found_and_cached() {
        let root = tempfile::tempdir().unwrap();
        let create = |path: &str, mode: u32| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        fs::create_dir_all(root.path().join("a/x")).unwrap();
        create("b/x", 0o644);
        let executable = create("c/x", 0o755);
        let local = create("here/x", 0o755);
        let path = std::env::join_paths(["a", "b", "c"].map(|name| root.path().join(name))).unwrap();
        let mut programs = PathLookup::default();
        let mut find = |path: &OsStr| programs.resolve("x", path, &root.path().join("here"));
        assert_eq!(find(&path), Some(executable.clone()));
        assert_eq!(find(OsStr::new(".")), Some(local.parent().unwrap().join("./x")));
        assert_eq!(find(OsStr::new("/nowhere")), None);
        fs::remove_file(&executable).unwrap();
        assert_eq!(find(&path), Some(executable.clone()), "cached");
        assert!(programs.invalidate("x", &path));
        assert_eq!(programs.resolve("x", &path, root.path()), None);
        assert!(!programs.invalidate("x", &path));
    }
}
