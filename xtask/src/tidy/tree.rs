//! The text files of the checkout.

use std::path::Path;

use anyhow::{Context, Result};

/// What holds nothing of ours. In a second work tree, `.git` is a file.
const FOREIGN: [&str; 2] = [".git", "target"];
/// Folders whose files are bytes, even where these can be read as text.
const BYTES: &str = "golden/";

/// One text file.
pub(super) struct File {
    /// Its path below the top folder, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// True for files that end so.
    pub(super) fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, ending)| ending == extension)
    }

    /// Lines with their numbers, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines before the tests that stand beside the code; none in a file of tests.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.is_test();
        self.lines().take_while(move |(_, line)| !is_test && !line.starts_with("#[cfg(test)]"))
    }

    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
    }
}

/// All text files, sorted by path.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
    /// Every path, text or not, folders too.
    paths: std::collections::BTreeSet<String>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { files: Vec::new(), paths: std::collections::BTreeSet::new() };
        tree.walk(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if FOREIGN.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file()
                && !prefix.contains(BYTES)
                && let Ok(text) = String::from_utf8(std::fs::read(entry.path()).unwrap_or_default())
            {
                self.files.push(File { path: path.clone(), text });
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// True if a file or folder is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.paths.contains(path.trim_end_matches('/'))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        let files =
            files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        Self { files, paths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_read_without_what_is_built_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in
            [("src/a.rs", "x"), ("target/b.rs", "x"), ("README.md", "x"), ("tests/golden/v2/a", "x")]
        {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        std::fs::write(folder.path().join("noise.bin"), [0xff, 0xfe]).unwrap();
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(
            tree.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["README.md", "src/a.rs"]
        );
        assert!(
            tree.has("src/")
                && tree.has("noise.bin")
                && tree.has("tests/golden/v2/a")
                && !tree.has("missing")
        );
    }

    #[test]
    fn code_ends_where_its_tests_begin() {
        let tree =
            Tree::of(&[("a/src/x.rs", "one\ntwo\n#[cfg(test)]\nmod tests {}\n"), ("a/tests/y.rs", "one\n")]);
        assert_eq!(tree.files[0].code().count(), 2);
        assert_eq!(tree.files[1].code().count(), 0);
    }
}
