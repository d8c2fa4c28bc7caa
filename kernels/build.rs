//! With the feature `cubins`: puts the machine code that `COLONNADE_CUBINS` holds into the binary.

use std::fmt::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=COLONNADE_CUBINS");
    if std::env::var_os("CARGO_FEATURE_CUBINS").is_none() {
        return Ok(());
    }
    let folder = std::env::var("COLONNADE_CUBINS")
        .map_err(|_| "the feature `cubins` needs COLONNADE_CUBINS, a folder of cubins; `make gpu-package` makes it")?;
    println!("cargo::rerun-if-changed={folder}");
    let mut files: Vec<_> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cubin"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{folder} holds no cubin").into());
    }
    let mut list = String::from("const BUILT_IN: &[(&str, &[u8])] = &[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(list, "    ({name:?}, include_bytes!({:?})),", path.canonicalize()?)?;
    }
    list.push_str("];\n");
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("cubins.rs"), list)?;
    Ok(())
}
