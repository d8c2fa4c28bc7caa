//! A test that does not run says in words why.

use crate::source::sources;
use crate::tree::{Tree, Violation};

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(tree) {
        for (attribute, line) in source.attributes() {
            let Some(reason) = attribute.strip_prefix("ignore") else { continue };
            let reason = reason.trim_start_matches([' ', '=']).trim_matches('"');
            if !reason.contains(' ') {
                let says = "an ignored test without a reason in words";
                violations.push(Violation::at(source.path, line, says));
            }
        }
    }
    violations
}

#[test]
fn a_test_ignored_for_no_reason_is_found() {
    let tree = Tree::of(&[(
        "engine/src/a.rs",
        "#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}\n#[ignore = \"needs a GPU of 80 GB\"]\nfn c() {}",
    )]);
    assert_eq!(super::places(&check(&tree)), ["engine/src/a.rs:2", "engine/src/a.rs:4"]);
}
