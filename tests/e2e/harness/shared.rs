//! The folder of real, openly licensed files that lies beside the checkout on a developer's machine.

use std::path::PathBuf;

/// A path in the folder of real data; nothing, and a word about it, when the folder is not there.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    // Cargo runs tests in their package's folder; one told at compile time may be another clone's.
    let package = std::env::current_dir().unwrap();
    let checkout = package.parent().unwrap();
    let folder = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| checkout.join("../shared/data"), PathBuf::from);
    if !folder.is_dir() {
        let is_required =
            std::env::var_os("COLONNADE_REQUIRE_SHARED_DATA").is_some_and(|value| value == "1");
        assert!(!is_required, "no real data at {}", folder.display());
        println!(
            "skipped: no real data at {} (COLONNADE_SHARED_DATA names the folder)",
            folder.display()
        );
        return None;
    }
    let path =
        folder.join(path).canonicalize().unwrap_or_else(|e| panic!("{path} of the real data: {e}"));
    Some(path)
}
