//! What is compiled stays within bounds that somebody gave a reason for: crates in the lock file, and lines of LLVM IR of each
//! of ours, which is what the compiler's time goes with. `make weight` counts the lines.

use std::collections::BTreeMap;

use crate::tree::{Tree, Violation};

const BOUNDS: &str = "tests/tidy/weights.toml";

/// A bound, and why it is not lower.
struct Bound {
    most: i64,
    reason: String,
}

/// The bounds of a table of `weights.toml`.
fn bounds(tree: &Tree, table: &str) -> BTreeMap<String, Bound> {
    let all = tree.manifest(BOUNDS);
    let table = all.get(table).and_then(toml::Value::as_table);
    let bound = |(name, value): (&String, &toml::Value)| {
        let most = value.get("most").and_then(toml::Value::as_integer).unwrap_or(0);
        let reason = value.get("reason").and_then(toml::Value::as_str).unwrap_or("").to_owned();
        (name.clone(), Bound { most, reason })
    };
    table.into_iter().flatten().map(bound).collect()
}

/// The crates of the lock file are no more than was reasoned.
pub fn crates(tree: &Tree) -> Vec<Violation> {
    let lock = tree.manifest("Cargo.lock");
    let found = lock.get("package").and_then(toml::Value::as_array).map_or(0, Vec::len) as i64;
    compare(&bounds(tree, "lock"), &BTreeMap::from([("crates".to_owned(), found)]))
}

/// Each library, and each binary in `src/main.rs`, has a bound of its lines of LLVM IR, and each bound has a reason: that needs
/// no count.
pub fn bounded(tree: &Tree) -> Vec<Violation> {
    let bounds = bounds(tree, "llvm-lines");
    let mut violations = Vec::new();
    for folder in tree.members().iter().map(|member| format!("{member}/")).chain([String::new()]) {
        let manifest = tree.manifest(&format!("{folder}Cargo.toml"));
        let name = manifest.get("package").and_then(|package| package.get("name")?.as_str());
        let name = name.unwrap_or_default().replace('-', "_");
        for (file, kind) in [("src/lib.rs", "lib"), ("src/main.rs", "bin")] {
            let bound = format!("{name}-{kind}");
            if tree.get(&format!("{folder}{file}")).is_some() && !bounds.contains_key(&bound) {
                violations.push(Violation::at(BOUNDS, 0, format!("`{bound}` has no bound")));
            }
        }
    }
    let bare = bounds.iter().filter(|(_, bound)| bound.most <= 0 || bound.reason.trim().is_empty());
    violations.extend(bare.map(|(name, _)| {
        Violation::at(BOUNDS, 0, format!("the bound of `{name}` has no number or no reason"))
    }));
    violations
}

/// The lines of LLVM IR that `make weight` counted, by crate and type of crate, are no more than was reasoned.
fn lines(tree: &Tree, counted: &BTreeMap<String, i64>) -> Vec<Violation> {
    compare(&bounds(tree, "llvm-lines"), counted)
}

fn compare(bounds: &BTreeMap<String, Bound>, counted: &BTreeMap<String, i64>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, found) in counted {
        let says = match bounds.get(name) {
            None => format!("`{name}` has no bound; found {found}"),
            Some(bound) if bound.reason.trim().is_empty() => {
                format!("the bound of `{name}` has no reason")
            }
            Some(bound) if *found > bound.most => format!(
                "`{name}`: expected at most {}, found {found}; make it less, or raise the bound and say why",
                bound.most
            ),
            Some(_) => continue,
        };
        violations.push(Violation::at(BOUNDS, 0, says));
    }
    for name in bounds.keys().filter(|name| !counted.contains_key(*name)) {
        violations.push(Violation::at(BOUNDS, 0, format!("`{name}` was not counted")));
    }
    violations
}

/// Holds what `make weight` counted against the bounds; without its count there is nothing to hold.
#[test]
#[allow(clippy::print_stdout, reason = "what was counted is shown with --nocapture")]
fn lines_of_llvm_ir() {
    let Some(folder) = std::env::var_os("COLONNADE_LLVM_LINES") else { return };
    let mut counted = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder of counts") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a count");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        counted.insert(name, text.trim().parse().expect("a number"));
    }
    for (name, lines) in &counted {
        println!("{lines:>10}  {name}");
    }
    crate::assert_none("lines_of_llvm_ir", &lines(Tree::of_the_repository(), &counted));
}

#[test]
fn what_grew_has_no_bound_or_no_reason_is_found() {
    let tree = Tree::of(&[
        (
            BOUNDS,
            "[lock]\ncrates = { most = 1, reason = \"small\" }\n[llvm-lines]\na-lib = { most = 10, reason = \"it does much\" }\n\
             b-lib = { most = 10, reason = \" \" }\ngone-lib = { most = 1, reason = \"was here\" }",
        ),
        ("Cargo.lock", "[[package]]\nname = \"a\"\n[[package]]\nname = \"b\"\n"),
    ]);
    let some = Tree::of(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b-c\"]\n[package]\nname = \"root\""),
        ("src/main.rs", "fn main() {}"),
        ("a/Cargo.toml", "[package]\nname = \"a\""),
        ("a/src/lib.rs", ""),
        ("b-c/Cargo.toml", "[package]\nname = \"b-c\""),
        ("b-c/src/lib.rs", ""),
        (
            BOUNDS,
            "[llvm-lines]\nb_c-lib = { most = 10, reason = \"it does much\" }\nx-bin = { reason = \"no number\" }\n\
             y-bin = { most = 10 }",
        ),
    ]);
    let says = |violations: Vec<Violation>| -> Vec<String> {
        violations.into_iter().map(|violation| violation.says).collect()
    };
    assert_eq!(
        says(bounded(&some)),
        [
            "`a-lib` has no bound",
            "`root-bin` has no bound",
            "the bound of `x-bin` has no number or no reason",
            "the bound of `y-bin` has no number or no reason"
        ]
    );
    let found = says(crates(&tree));
    assert!(found.len() == 1 && found[0].contains("at most 1, found 2"), "{found:?}");
    let counted = |a| {
        BTreeMap::from([("a-lib".to_owned(), a), ("b-lib".to_owned(), 3), ("c-bin".to_owned(), 3)])
    };
    let found = says(lines(&tree, &counted(11)));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].contains("`a-lib`: expected at most 10, found 11"), "{found:?}");
    assert!(found[1].contains("`b-lib` has no reason"), "{found:?}");
    assert!(found[2].contains("`c-bin` has no bound"), "{found:?}");
    assert!(found[3].contains("`gone-lib` was not counted"), "{found:?}");
    assert_eq!(says(lines(&tree, &counted(10))).len(), 3);
}
