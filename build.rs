//! Puts the commit and the features into the binary, for `colonnade --version`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=COLONNADE_COMMIT");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        // Whoever builds within a hook of another repository does not mean that one.
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        let output = git.args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    // A repository around this one says nothing of it.
    let top = git(&["rev-parse", "--show-toplevel"]).map(PathBuf::from);
    let is_ours = top.is_some_and(|top| {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        top.canonicalize().ok() == here.and_then(|here| here.canonicalize().ok())
    });
    let git = |arguments: &[&str]| is_ours.then(|| git(arguments)).flatten();
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // Where a branch points lies in one of these; where its file is not there, the folder tells when it comes.
    for file in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", file]).map(PathBuf::from);
        let there = path.as_deref().and_then(|path| path.ancestors().find(|path| path.exists()));
        if let Some(there) = there.filter(|there| there.file_name() != Some(".git".as_ref())) {
            println!("cargo::rerun-if-changed={}", there.display());
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    // A source without its history is told by whoever packs it.
    let commit = std::env::var("COLONNADE_COMMIT").ok();
    let commit = commit.and_then(|commit| commit.lines().next().map(str::to_owned));
    let commit = commit.filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let has = |feature: &str| std::env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let signed = |name: &str, is_in: bool| format!("{}{name}", if is_in { '+' } else { '-' });
    let features = [signed("cloud", has("CLOUD")), signed("cuda-encoders", has("CUDA_ENCODERS"))];
    // `PROFILE` names the one that a profile inherits from; the folder is named after the profile.
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let profile = out.ancestors().nth(3).and_then(Path::file_name).unwrap_or_default();
    let profile = profile.to_string_lossy();
    // That of `dev` is not.
    let profile = if profile == "debug" { "dev" } else { &*profile };
    println!("cargo::rustc-env=COLONNADE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=COLONNADE_FEATURES={}", features.join(" "));
    println!("cargo::rustc-env=COLONNADE_PROFILE={profile}");
}
