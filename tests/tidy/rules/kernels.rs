//! Every CUDA source belongs to an operation that also has a slow, obviously right reference, and is
//! part of what the tests compile.

use crate::source::sources;
use crate::tree::{Tree, Violation};

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let sources = sources(tree);
    for (path, _) in tree.ending_in(".cu") {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if !path.starts_with("kernels/") {
            violations.push(Violation::at(path, 0, "a CUDA source outside of kernels"));
        }
        for part in ["cpu.rs", "cuda.rs", "reference.rs"] {
            let is_there = tree.iter().any(|(other, _)| {
                let stem = part.trim_end_matches(".rs");
                other == format!("{folder}/{part}")
                    || other.starts_with(&format!("{folder}/{stem}/"))
            });
            if !is_there {
                let says = format!("its operation has no {part} beside it");
                violations.push(Violation::at(path, 0, says));
            }
        }
        // Strings are blanked in the code, so the mention is looked for in the text.
        let is_included = sources
            .iter()
            .filter(|source| source.path.starts_with(folder))
            .any(|source| source.text.contains(&format!("source!(\"{file}\")")));
        if !is_included {
            violations.push(Violation::at(path, 0, "no source beside it includes it"));
        }
    }
    violations
}

#[test]
fn a_kernel_that_nothing_checks_is_found() {
    let tree = Tree::of(&[
        ("kernels/src/rolling/cpu.rs", ""),
        ("kernels/src/rolling/cuda/mod.rs", "const S: Source = source!(\"rolling.cu\");"),
        ("kernels/src/rolling/reference.rs", ""),
        ("kernels/src/rolling/rolling.cu", ""),
        ("kernels/src/rolling/extra.cu", ""),
        ("jobs/src/own.cu", ""),
    ]);
    let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found[5].contains("extra.cu") && found[5].contains("includes"), "{found:?}");
}
