//! Searches for input that a target does not come back from, by coverage. `make fuzz` starts it.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Target, target};

/// The target that the environment names.
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("COLONNADE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = target(&name) else {
        let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        eprintln!("COLONNADE_FUZZ_TARGET {name:?}: expected one of {}", names.join(", "));
        std::process::exit(2);
    };
    target
});

/// Writes the target's seeds into a folder, for the search to begin with.
fn write_seeds() {
    let Some(folder) = std::env::var_os("COLONNADE_FUZZ_SEEDS") else { return };
    for (number, seed) in fuzz::seeds(TARGET.name).iter().enumerate() {
        let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
        if let Err(error) = std::fs::write(&path, seed) {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
    std::process::exit(0);
}

libfuzzer_sys::fuzz_target!(init: write_seeds(), |input: &[u8]| (TARGET.run)(input));
