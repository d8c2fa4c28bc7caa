//! Crates depend on each other in one direction only, so that a reader can learn them one by one and
//! a change below cannot need one above.

use std::collections::BTreeSet;

use crate::tree::{Tree, Violation};

/// A crate, and those it stands directly on. It may also name what those stand on.
const ARROWS: [(&str, &[&str]); 14] = [
    ("kernels", &[]),
    ("datasets", &[]),
    ("reports", &[]),
    ("analysis", &[]),
    ("networks", &[]),
    ("networks-cuda", &["networks"]),
    ("models", &["kernels", "networks", "networks-cuda"]),
    ("engine", &["kernels", "datasets", "analysis"]),
    ("jobs", &["engine", "models", "analysis", "reports"]),
    ("graphql", &["jobs", "engine"]),
    ("colonnade", &["graphql"]),
    ("benches", &["jobs"]),
    ("fuzz", &["graphql"]),
    ("tests", &["graphql"]),
];

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let members = tree.members();
    let manifests = members.iter().map(|member| format!("{member}/Cargo.toml"));
    for path in manifests.chain(["Cargo.toml".to_owned()]) {
        let manifest = tree.manifest(&path);
        let name = manifest.get("package").and_then(|p| p.get("name")?.as_str()).unwrap_or("");
        let Some(reaches) = reaches(name) else {
            let says = format!("crate `{name}` has no arrows in tests/tidy/rules/arrows.rs");
            violations.push(Violation::at(&path, 0, says));
            continue;
        };
        for dependency in dependencies(&manifest) {
            let is_ours = ARROWS.iter().any(|(name, _)| *name == dependency);
            if is_ours && !reaches.contains(dependency.as_str()) {
                let says = format!("`{name}` depends on `{dependency}`: no arrow points that way");
                violations.push(Violation::at(&path, 0, says));
            }
        }
    }
    violations
}

fn reaches(name: &str) -> Option<BTreeSet<&'static str>> {
    let (_, direct) = ARROWS.iter().find(|(from, _)| *from == name)?;
    let mut all: BTreeSet<&str> = direct.iter().copied().collect();
    for next in *direct {
        all.extend(reaches(next)?);
    }
    Some(all)
}

/// What a manifest depends on, for whatever purpose or platform.
pub fn dependencies(manifest: &toml::Table) -> Vec<String> {
    entries(manifest).into_iter().map(|(name, _)| name.clone()).collect()
}

/// The same under the names of the packages, where a manifest, or the workspace in `root`, calls one otherwise.
pub fn packages(manifest: &toml::Table, root: &toml::Table) -> Vec<String> {
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let package = |value: &toml::Value| Some(value.get("package")?.as_str()?.to_owned());
    let of_entry = |(name, value): (&String, &toml::Value)| {
        let in_root = || package(shared?.get(name)?);
        package(value).or_else(in_root).unwrap_or_else(|| name.clone())
    };
    entries(manifest).into_iter().map(of_entry).collect()
}

fn entries(manifest: &toml::Table) -> Vec<(&String, &toml::Value)> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            found.extend(table);
        } else if key == "target" {
            let platforms = table.values().filter_map(toml::Value::as_table);
            found.extend(platforms.flat_map(entries));
        }
    }
    found
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let root = "[workspace]\nmembers = [\"kernels\", \"engine\", \"attic\"]\n[package]\nname = \"colonnade\"\n[dependencies]\ngraphql = {}\njobs = {}";
    let tree = Tree::of(&[
        ("Cargo.toml", root),
        ("kernels/Cargo.toml", "[package]\nname = \"kernels\"\n[dev-dependencies]\ndatasets = {}"),
        (
            "engine/Cargo.toml",
            "[package]\nname = \"engine\"\n[dependencies]\nkernels = {}\n[target.'cfg(unix)'.dependencies]\ngraphql = {}",
        ),
        ("attic/Cargo.toml", "[package]\nname = \"attic\""),
    ]);
    let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("`kernels` depends on `datasets`"), "{found:?}");
    assert!(found[1].contains("`engine` depends on `graphql`"), "{found:?}");
    assert!(found[2].contains("crate `attic` has no arrows"), "{found:?}");
}
