//! Every CUDA source belongs to an operation that also has a slow, obviously right reference, and is
//! part of what the tests compile.

use crate::source::{Source, sources};
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
        if !included(&sources, folder).any(|name| name == file) {
            violations.push(Violation::at(path, 0, "no source beside it includes it"));
        }
    }
    // What all operations share lies with the compiler, and goes before each of them.
    for (path, _) in tree.ending_in(".cuh") {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if folder != "kernels/src/cuda" && !included(&sources, folder).any(|name| name == file) {
            violations.push(Violation::at(path, 0, "no source beside it includes it"));
        }
    }
    violations
}

/// The files that the sources under `folder` name in a `source!`. Strings are blanked in the code, so
/// the text is read.
fn included<'a>(sources: &'a [Source<'a>], folder: &'a str) -> impl Iterator<Item = &'a str> {
    sources
        .iter()
        .filter(move |source| source.path.starts_with(folder))
        .flat_map(|source| source.text.split("source!(").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        // Of text split at quotation marks, every second part is a string.
        .flat_map(|(arguments, _)| arguments.split('"').skip(1).step_by(2))
}

#[test]
fn a_kernel_that_nothing_checks_is_found() {
    let tree = Tree::of(&[
        ("kernels/src/rolling/cpu.rs", ""),
        ("kernels/src/rolling/cuda/mod.rs", "const S: Source = source!(\"rolling.cu\");"),
        ("kernels/src/rolling/reference.rs", ""),
        ("kernels/src/rolling/rolling.cu", ""),
        ("kernels/src/rolling/extra.cu", ""),
        ("kernels/src/forecast/cpu.rs", ""),
        ("kernels/src/forecast/cuda.rs", ""),
        ("kernels/src/forecast/reference.rs", ""),
        (
            "kernels/src/forecast/mod.rs",
            "const S: Source = source!([\"search.cuh\"] \"forecast.cu\");",
        ),
        ("kernels/src/forecast/forecast.cu", ""),
        ("kernels/src/forecast/search.cuh", ""),
        ("kernels/src/forecast/extra.cuh", ""),
        ("kernels/src/cuda/common.cuh", ""),
        ("jobs/src/own.cu", ""),
    ]);
    let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 7, "{found:?}");
    for file in ["extra.cu:", "extra.cuh:"] {
        let says = |text: &&String| text.contains(file) && text.contains("includes");
        assert_eq!(found.iter().filter(says).count(), 1, "{file} in {found:?}");
    }
}
