//! A file of much more than 500 lines is two rooms.

use crate::tree::{Tree, Violation};

/// A little above what we aim at, so that nobody splits a file for three lines.
const LINES_MAX: usize = 600;

/// Files that are longer, and the reason.
const LONGER: [(&str, &str); 0] = [];

pub fn check(tree: &Tree) -> Vec<Violation> {
    check_with(tree, &LONGER)
}

fn check_with(tree: &Tree, longer: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.iter() {
        let is_source =
            [".rs", ".cu", ".cuh", ".py", ".sh", ".mjs", ".js"].iter().any(|e| path.ends_with(e));
        let is_listed = longer.iter().any(|(listed, _)| *listed == path);
        let lines = text.lines().count();
        if is_source && !is_listed && lines > LINES_MAX {
            let says = format!("{lines} lines; at most {LINES_MAX} are read in one go");
            violations.push(Violation::at(path, 0, says));
        }
    }
    for (path, _) in longer {
        if tree.get(path).is_none_or(|text| text.lines().count() <= LINES_MAX) {
            violations.push(Violation::at(
                path,
                0,
                "listed as longer, but it is not: delete the entry",
            ));
        }
    }
    violations
}

#[test]
fn a_long_file_is_found_and_so_is_an_exception_that_is_none() {
    let long = "\n".repeat(LINES_MAX + 1);
    let tree = Tree::of(&[("a.rs", &long), ("b.md", &long), ("c.cu", &long), ("d.rs", "")]);
    let found = check_with(&tree, &[("c.cu", "one table"), ("d.rs", "was long once")]);
    assert_eq!(super::places(&found), ["a.rs:0", "d.rs:0"]);
}
