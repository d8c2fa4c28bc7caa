//! The files a rule looks at: the repository's, or a handful made up to break the rule.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

/// Files above this are data, not something a person reads; nothing of ours is.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Text files by their path from the root, with `/` between the parts.
pub struct Tree {
    pub files: BTreeMap<String, String>,
}

/// A place where a rule is broken. Line 0 stands for the whole file.
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub says: String,
}

impl Violation {
    pub fn at(path: &str, line: usize, says: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, says: says.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.says)
    }
}

impl Tree {
    /// The checkout this test was built from, read once.
    pub fn of_the_repository() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            // Cargo runs tests in their package's folder; one told at compile time may be another clone's.
            let package = std::env::current_dir().expect("a folder to be in");
            let root = package.parent().expect("a workspace above");
            let ignored = std::fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
            let ignored: Vec<&str> =
                ignored.lines().map(|line| line.trim().trim_matches('/')).collect();
            let mut files = BTreeMap::new();
            read_folder(root, "", &ignored, &mut files);
            assert!(files.contains_key("Cargo.toml"), "no Cargo.toml in {}", root.display());
            Tree { files }
        })
    }

    /// A made-up tree.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { files: files.iter().map(own).collect() }
    }

    pub fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub fn ending_in(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(move |(path, _)| path.ends_with(ending))
    }

    /// The folders of the workspace's members, from the root manifest.
    pub fn members(&self) -> Vec<String> {
        let strings = |value: &toml::Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        };
        let root = self.manifest("Cargo.toml");
        root.get("workspace").and_then(|w| w.get("members")).map(strings).unwrap_or_default()
    }

    /// A manifest; empty when it is missing, which the caller's rule then sees as such.
    pub fn manifest(&self, path: &str) -> toml::Table {
        self.get(path).map(|text| text.parse().expect(path)).unwrap_or_default()
    }
}

fn read_folder(root: &Path, inside: &str, ignored: &[&str], files: &mut BTreeMap<String, String>) {
    let entries = std::fs::read_dir(root.join(inside)).expect(inside);
    for entry in entries.map(|entry| entry.expect(inside)) {
        let name = entry.file_name().into_string().expect("a file name in UTF-8");
        let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
        let skipped = name == ".git" || name == "node_modules" || name == "__pycache__";
        if skipped || ignored.contains(&path.as_str()) {
            continue;
        }
        let kind = entry.file_type().expect(&path);
        if kind.is_dir() {
            read_folder(root, &path, ignored, files);
        } else if kind.is_file() && entry.metadata().expect(&path).len() <= FILE_BYTES_MAX {
            // What is not text (an image) is there, and has no lines to check.
            files.insert(path, std::fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
}
