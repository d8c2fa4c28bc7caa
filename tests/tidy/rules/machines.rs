//! No file knows the machine of whoever wrote it: what names a home folder works there alone.

use crate::tree::{Tree, Violation};

/// Written in halves, so that this file keeps its own rule.
const HOMES: [&str; 4] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("C:\\", "Users"),
];

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.iter() {
        for (index, line) in text.lines().enumerate() {
            // A path begins there; `docs/home/` is another thing.
            let is_home = |home: &&&str| {
                line.match_indices(**home).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c))
                })
            };
            if let Some(home) = HOMES.iter().find(is_home) {
                let says = format!("names a folder below {home}, which another machine has not");
                violations.push(Violation::at(path, index + 1, says));
            }
        }
    }
    violations
}

#[test]
fn a_home_folder_is_found() {
    let line = format!("a\nlet path = \"{}someone/data\";\n", HOMES[1]);
    let tree = Tree::of(&[("a.rs", &line), ("b.md", "docs/home/index.md and $HOME/data\n")]);
    assert_eq!(super::places(&check(&tree)), ["a.rs:2"]);
}
