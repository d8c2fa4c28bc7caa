//! One arrow, one datafusion, one object store: two of them would be two sets of types that do not
//! fit. Versions are named once, in the root manifest.

use std::collections::BTreeSet;

use crate::tree::{Tree, Violation};

/// Crates of which the lock file may hold one version only, and the one that is meant.
const ONE_VERSION: [(&str, &str); 7] = [
    ("arrow", "59."),
    ("parquet", "59."),
    ("datafusion", "55."),
    ("object_store", "0.13."),
    ("deltalake-core", "1.1."),
    ("async-graphql", "7."),
    ("cudarc", "0.19."),
];

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let root = tree.manifest("Cargo.toml");
    let named =
        root.get("workspace").and_then(|workspace| workspace.get("dependencies")?.as_table());
    for (name, value) in named.into_iter().flatten() {
        let is_ours = value.get("path").is_some();
        let version = value.as_str().or_else(|| value.get("version")?.as_str());
        if value.get("git").is_some() {
            let says = format!("`{name}` comes from git; a registry keeps what it published");
            violations.push(Violation::at("Cargo.toml", 0, says));
        } else if !is_ours && version.is_none_or(|version| version.contains('*')) {
            violations.push(Violation::at("Cargo.toml", 0, format!("`{name}` has no version")));
        }
    }
    for member in tree.members() {
        let path = format!("{member}/Cargo.toml");
        violations.extend(own_versions(&tree.manifest(&path), &path));
    }
    violations.extend(own_versions(&root, "Cargo.toml"));
    violations.extend(locked(&tree.manifest("Cargo.lock")));
    violations.extend(tool_chain(tree));
    violations
}

/// Dependencies that name a version beside the workspace's.
fn own_versions(manifest: &toml::Table, path: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let tables = manifest.iter().filter(|(key, _)| key.ends_with("dependencies"));
    for (name, value) in tables.filter_map(|(_, value)| value.as_table()).flatten() {
        if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
            let says = format!("`{name}` must take its version from the workspace");
            violations.push(Violation::at(path, 0, says));
        }
    }
    violations
}

fn locked(lock: &toml::Table) -> Vec<Violation> {
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let mut violations = Vec::new();
    for (name, meant) in ONE_VERSION {
        let versions: BTreeSet<&str> = packages
            .into_iter()
            .flatten()
            .filter(|package| package.get("name").and_then(toml::Value::as_str) == Some(name))
            .filter_map(|package| package.get("version")?.as_str())
            .collect();
        let is_one =
            versions.len() == 1 && versions.iter().all(|version| version.starts_with(meant));
        if !is_one {
            let says = format!("`{name}` must be {meant}x alone; found {versions:?}");
            violations.push(Violation::at("Cargo.lock", 0, says));
        }
    }
    violations
}

/// The compiler and the CUDA binding are named in the checkout too.
fn tool_chain(tree: &Tree) -> Vec<Violation> {
    let string = |path: &str, table: &str, key: &str| {
        let manifest = tree.manifest(path);
        manifest.get(table).and_then(|t| t.get(key)?.as_str()).map(ToOwned::to_owned)
    };
    let mut violations = Vec::new();
    let channel = string("rust-toolchain.toml", "toolchain", "channel");
    let is_exact = channel.is_some_and(|channel| channel.starts_with(|c: char| c.is_ascii_digit()));
    if !is_exact {
        violations.push(Violation::at("rust-toolchain.toml", 0, "no compiler version is named"));
    }
    if string(".cargo/config.toml", "env", "CUDARC_CUDA_VERSION").as_deref() != Some("13000") {
        let says = "`CUDARC_CUDA_VERSION` must be 13000: newer bindings fail on an older driver";
        violations.push(Violation::at(".cargo/config.toml", 0, says));
    }
    violations
}

#[test]
fn a_second_version_is_found() {
    let root = "[workspace]\nmembers = [\"engine\"]\n[workspace.dependencies]\nbytes = \"*\"\ncsv = { git = \"https://example.org/csv\" }\nhalf = \"2\"\nengine = { path = \"engine\" }";
    let pinned: String = ONE_VERSION
        .iter()
        .map(|(name, version)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}1\"\n")
        })
        .collect();
    let lock = format!("{pinned}[[package]]\nname = \"arrow\"\nversion = \"60.0.0\"\n");
    let files = [
        ("Cargo.toml", root),
        ("Cargo.lock", &lock),
        ("engine/Cargo.toml", "[dependencies]\nhalf = \"1\"\nbytes = { workspace = true }"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"stable\""),
        (".cargo/config.toml", "[env]\nCUDARC_CUDA_VERSION = \"13000\""),
    ];
    let expected = [
        "Cargo.toml:0",
        "Cargo.toml:0",
        "engine/Cargo.toml:0",
        "Cargo.lock:0",
        "rust-toolchain.toml:0",
    ];
    assert_eq!(super::places(&check(&Tree::of(&files))), expected);
}
