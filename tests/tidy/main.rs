//! The invariants of the design, held by a test and not by memory: where arrows between crates may
//! point, which rooms may touch storage, Delta, CUDA and `unsafe`, what code on a user's path must
//! not do, and what a reader may rely on in every file.
//!
//! A rule is a function from a tree of files to its violations, one rule per file. The tree of the
//! repository must have none; and each rule is shown a small made-up tree that breaks it, so that a
//! rule that can no longer find anything fails too. Text search over sources would trip over comments
//! and strings, so sources are lexed first (`source.rs`); a full parser would cost more to build than
//! everything else here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rules;
mod source;
mod tree;

use tree::{Tree, Violation};

/// Fails with every violation listed, one per line, as `path:line: what is wrong`.
fn assert_none(rule: &str, violations: &[Violation]) {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{rule}: {} broken\n{}", list.len(), list.join("\n"));
}

/// One test per rule over the repository's own files.
macro_rules! the_repository_keeps {
    ($($name:ident: $rule:path;)*) => {
        mod the_repository_keeps {
            use super::*;
            $(#[test]
            fn $name() {
                assert_none(stringify!($name), &$rule(Tree::of_the_repository()));
            })*
        }
    };
}

the_repository_keeps! {
    arrows_between_crates: rules::arrows::check;
    storage_and_delta_in_their_rooms: rules::rooms::storage;
    the_cuda_driver_in_its_rooms: rules::rooms::cuda;
    burn_in_networks_only: rules::rooms::burn;
    unsafe_code_in_kernels_only: rules::rooms::unsafe_code;
    no_panics_on_a_users_path: rules::panics::check;
    reasons_for_ignored_tests: rules::ignored::check;
    files_short: rules::length::check;
    clean_white_space: rules::white_space::check;
    one_lint_list: rules::lints::check;
    one_version_of_what_must_be_one: rules::pins::check;
    no_unused_dependencies: rules::dependencies::check;
    no_more_crates_than_reasoned: rules::weights::crates;
    a_bound_for_each_crates_lines: rules::weights::bounded;
    nouns_of_the_field: rules::names::check;
    a_code_map_of_every_crate: rules::documents::code_map;
    links_that_resolve: rules::documents::links;
    commands_that_exist: rules::documents::commands;
    every_kernel_compiled_and_checked: rules::kernels::check;
    no_machine_of_ones_own: rules::machines::check;
}
