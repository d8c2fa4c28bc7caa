//! One rule per file: what it holds, what it finds in a tree, and a tree that breaks it.

pub mod arrows;
pub mod dependencies;
pub mod documents;
pub mod ignored;
pub mod kernels;
pub mod length;
pub mod lints;
pub mod machines;
pub mod names;
pub mod panics;
pub mod pins;
pub mod rooms;
pub mod weights;
pub mod white_space;

/// The lines that a rule names in a made-up tree, as `path:line`.
#[cfg(test)]
pub fn places(violations: &[crate::tree::Violation]) -> Vec<String> {
    violations.iter().map(|v| format!("{}:{}", v.path, v.line)).collect()
}
