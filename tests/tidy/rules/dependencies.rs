//! A dependency that nothing names is build time for nothing.

use super::arrows::dependencies;
use crate::source::sources;
use crate::tree::{Tree, Violation};

/// Dependencies that no source names, and what they are there for.
const UNNAMED: [(&str, &str, &str); 0] = [];

pub fn check(tree: &Tree) -> Vec<Violation> {
    check_with(tree, &UNNAMED)
}

fn check_with(tree: &Tree, unnamed: &[(&str, &str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let sources = sources(tree);
    let mut folders = tree.members();
    folders.push(String::new());
    for folder in &folders {
        let path = if folder.is_empty() {
            "Cargo.toml".to_owned()
        } else {
            format!("{folder}/Cargo.toml")
        };
        // The root package is the sources directly below the root.
        let inside = if folder.is_empty() { "src/".to_owned() } else { format!("{folder}/") };
        for name in dependencies(&tree.manifest(&path)) {
            let word = name.replace('-', "_");
            let is_named = sources
                .iter()
                .filter(|source| source.path.starts_with(&inside))
                .any(|source| source.words(&word).next().is_some());
            let is_excused = unnamed.iter().any(|(of, listed, _)| *of == folder && *listed == name);
            if !is_named && !is_excused {
                let says = format!("depends on `{name}`, which no source names");
                violations.push(Violation::at(&path, 0, says));
            }
        }
    }
    violations
}

#[test]
fn a_dependency_for_nothing_is_found() {
    let tree = Tree::of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"engine\"]\n[dependencies]\nengine = {}\nclap = {}",
        ),
        ("src/main.rs", "use engine::Engine; // clap"),
        ("engine/Cargo.toml", "[dependencies]\nserde_json = {}\npolars-arrow = {}\nzstd = {}"),
        ("engine/src/lib.rs", "fn f() { polars_arrow::g(\"serde_json\") }"),
    ]);
    let found = check_with(&tree, &[("engine", "zstd", "a feature of another crate needs it")]);
    assert_eq!(super::places(&found), ["engine/Cargo.toml:0", "Cargo.toml:0"]);
}
