//! No white space that a reader cannot see: it makes differences out of nothing.

use crate::tree::{Tree, Violation};

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    // The licence is quoted, as its authors laid it out.
    for (path, text) in tree.iter().filter(|(path, _)| *path != "LICENSE") {
        let name = path.rsplit('/').next().unwrap_or(path);
        let may_hold_tabs = name == "Makefile" || path.ends_with(".tsv");
        for (index, line) in text.split('\n').enumerate() {
            let says = if line.ends_with('\r') {
                "a line end of Windows"
            } else if line.ends_with([' ', '\t']) {
                "white space at the end of the line"
            } else if line.contains('\t') && !may_hold_tabs {
                "a tab"
            } else {
                continue;
            };
            violations.push(Violation::at(path, index + 1, says));
        }
        let lines = text.lines().count();
        if !text.is_empty() && !text.ends_with('\n') {
            violations.push(Violation::at(path, lines, "no line end at the end"));
        }
        if text.ends_with("\n\n") {
            violations.push(Violation::at(path, lines, "an empty line at the end"));
        }
    }
    violations
}

#[test]
fn white_space_that_nobody_sees_is_found() {
    let tree = Tree::of(&[
        ("Makefile", "a:\n\tb\n"),
        ("a.rs", "a \nb\n\tc\nd\r\n"),
        ("b.rs", "a"),
        ("c.rs", "a\n\n"),
        ("d.rs", ""),
    ]);
    let expected = ["a.rs:1", "a.rs:3", "a.rs:4", "b.rs:1", "c.rs:2"];
    assert_eq!(super::places(&check(&tree)), expected);
}
