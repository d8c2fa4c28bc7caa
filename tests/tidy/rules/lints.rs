//! The lint list lives once, in the root manifest, and every crate takes it. `kernels` has a list of
//! its own, because it alone may hold unsafe code.

use crate::tree::{Tree, Violation};

const OWN_LIST: &str = "kernels";

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let root = tree.manifest("Cargo.toml");
    let forbids = root
        .get("workspace")
        .and_then(|workspace| workspace.get("lints")?.get("rust")?.get("unsafe_code")?.as_str());
    if forbids != Some("forbid") {
        violations.push(Violation::at("Cargo.toml", 0, "the lint list must forbid `unsafe_code`"));
    }
    let inherits = |manifest: &toml::Table| {
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        lints.and_then(toml::Value::as_bool) == Some(true)
    };
    if !inherits(&root) {
        violations.push(Violation::at("Cargo.toml", 0, "`[lints] workspace = true` is missing"));
    }
    for member in tree.members() {
        let path = format!("{member}/Cargo.toml");
        let manifest = tree.manifest(&path);
        let says = match (member == OWN_LIST, manifest.get("lints")) {
            (true, Some(own)) if own.get("workspace").is_none() => {
                violations.extend(missing_from(own, &root, &path));
                continue;
            }
            (true, _) => "a lint list of its own is missing",
            (false, _) if inherits(&manifest) => continue,
            (false, _) => "`[lints] workspace = true` is missing",
        };
        violations.push(Violation::at(&path, 0, says));
    }
    violations
}

/// What a list of its own leaves out of the common one, `unsafe_code` aside.
fn missing_from(own: &toml::Value, root: &toml::Table, path: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let common = root.get("workspace").and_then(|workspace| workspace.get("lints")?.as_table());
    for (tool, lints) in common.into_iter().flatten() {
        for (lint, _) in lints.as_table().into_iter().flatten() {
            if lint != "unsafe_code" && own.get(tool).and_then(|own| own.get(lint)).is_none() {
                let says = format!("its own lint list leaves out `{tool}.{lint}`");
                violations.push(Violation::at(path, 0, says));
            }
        }
    }
    violations
}

#[test]
fn a_crate_without_the_lints_is_found() {
    let root = "[workspace]\nmembers = [\"kernels\", \"engine\", \"jobs\"]\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n[workspace.lints.clippy]\npanic = \"warn\"\n[lints]\nworkspace = true";
    let tree = Tree::of(&[
        ("Cargo.toml", root),
        ("kernels/Cargo.toml", "[lints.clippy]\ntodo = \"warn\""),
        ("engine/Cargo.toml", "[lints]\nworkspace = true"),
        ("jobs/Cargo.toml", "[package]\nname = \"jobs\""),
    ]);
    assert_eq!(super::places(&check(&tree)), ["kernels/Cargo.toml:0", "jobs/Cargo.toml:0"]);
    let without = Tree::of(&[("Cargo.toml", "[workspace]\nmembers = []")]);
    assert_eq!(check(&without).len(), 2);
}
