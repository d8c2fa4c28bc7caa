//! Some powers live in one room each: object storage and Delta, the CUDA driver, burn, unsafe code. Whoever
//! must be sure of one of them then has one folder to read.

use super::arrows::packages;
use crate::source::sources;
use crate::tree::{Tree, Violation};

/// Object storage and Delta.
pub fn storage(tree: &Tree) -> Vec<Violation> {
    let is_room = |path: &str| {
        ["engine/src/storage", "engine/src/lake"].iter().any(|room| path.starts_with(room))
    };
    let mut violations =
        named_elsewhere(tree, &["object_store", "deltalake_core", "deltalake"], is_room);
    violations.extend(depended_on_elsewhere(
        tree,
        |name| ["object_store", "deltalake-core"].contains(&name),
        "engine/",
    ));
    violations
}

/// The CUDA driver.
pub fn cuda(tree: &Tree) -> Vec<Violation> {
    let is_room = |path: &str| {
        path.starts_with("kernels/") && path.split('/').any(|part| part.starts_with("cuda"))
    };
    let mut violations = named_elsewhere(tree, &["cudarc"], is_room);
    violations.extend(depended_on_elsewhere(tree, |name| name == "cudarc", "kernels/"));
    violations
}

/// burn: whoever names it is compiled with its generic code.
pub fn burn(tree: &Tree) -> Vec<Violation> {
    depended_on_elsewhere(tree, |name| name == "burn" || name.starts_with("burn-"), "networks/")
}

/// Code whose safety the compiler does not check.
pub fn unsafe_code(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(tree).iter().filter(|source| !source.path.starts_with("kernels/")) {
        for at in source.words("unsafe") {
            let says = "`unsafe` outside of kernels";
            violations.push(Violation::at(source.path, source.line_of(at), says));
        }
    }
    violations
}

fn named_elsewhere(tree: &Tree, names: &[&str], is_room: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(tree).iter().filter(|source| !is_room(source.path)) {
        for name in names {
            for at in source.words(name) {
                let is_path = source.code[at + name.len()..].starts_with("::");
                let is_use = source.code[..at].trim_end().ends_with("use");
                if is_path || is_use {
                    let says = format!("`{name}` outside of its room");
                    violations.push(Violation::at(source.path, source.line_of(at), says));
                }
            }
        }
    }
    violations
}

fn depended_on_elsewhere(
    tree: &Tree,
    is_of_room: impl Fn(&str) -> bool,
    room: &str,
) -> Vec<Violation> {
    let root = tree.manifest("Cargo.toml");
    let mut violations = Vec::new();
    for (path, _) in tree.ending_in("Cargo.toml").filter(|(path, _)| !path.starts_with(room)) {
        for name in packages(&tree.manifest(path), &root) {
            if is_of_room(&name) {
                let says = format!("depends on `{name}`, which belongs to {room}");
                violations.push(Violation::at(path, 0, says));
            }
        }
    }
    violations
}

#[test]
fn a_power_outside_of_its_room_is_found() {
    let tree = Tree::of(&[
        ("engine/src/lake/log.rs", "use deltalake_core::kernel; use object_store as store;"),
        ("engine/src/session.rs", "// object_store::path\nfn f(_: &object_store::path::Path) {}"),
        (
            "jobs/Cargo.toml",
            "[dependencies]\nobject_store = \"0.13\"\n[dev-dependencies]\ncudarc = \"0.19\"",
        ),
        ("kernels/src/rolling/cuda.rs", "use cudarc::driver; unsafe fn f() {}"),
        ("kernels/src/cuda/device.rs", "use cudarc::driver;"),
        ("kernels/src/policy.rs", "fn f() { cudarc::driver::init() }"),
        ("jobs/src/lib.rs", "fn f() {\n  unsafe { g() }\n}"),
        ("networks/cuda/Cargo.toml", "[dependencies]\nburn-cuda = { workspace = true }"),
        ("models/Cargo.toml", "[dev-dependencies]\nburn-tensor = { workspace = true }"),
        ("graphql/Cargo.toml", "[dependencies]\nflame = { package = \"burn\" }"),
        ("benches/Cargo.toml", "[dependencies]\nfire = { workspace = true }"),
        ("Cargo.toml", "[workspace.dependencies]\nfire = { package = \"burn-core\" }"),
    ]);
    assert_eq!(super::places(&storage(&tree)), ["engine/src/session.rs:2", "jobs/Cargo.toml:0"]);
    assert_eq!(super::places(&cuda(&tree)), ["kernels/src/policy.rs:1", "jobs/Cargo.toml:0"]);
    assert_eq!(super::places(&unsafe_code(&tree)), ["jobs/src/lib.rs:2"]);
    assert_eq!(
        super::places(&burn(&tree)),
        ["benches/Cargo.toml:0", "graphql/Cargo.toml:0", "models/Cargo.toml:0"]
    );
}
