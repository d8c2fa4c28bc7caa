//! Types and modules are called after things of the field. A name that says only that something is
//! of use hides what it is for.

use crate::source::sources;
use crate::tree::{Tree, Violation};

const SAY_NOTHING: [&str; 6] = ["Manager", "Helper", "Util", "Utils", "Common", "Base"];

pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources(tree) {
        let file = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = file.rsplit('/').next().unwrap_or(file);
        if module.split('_').any(|part| says_nothing(&capitalised(part))) {
            violations.push(Violation::at(
                source.path,
                0,
                format!("module `{module}` says nothing"),
            ));
        }
        for keyword in ["struct", "enum", "trait", "type", "union"] {
            for at in source.words(keyword) {
                let after = source.code[at + keyword.len()..].trim_start();
                let name =
                    after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
                if parts(name).iter().any(|part| says_nothing(part)) {
                    let says = format!("type `{name}`: name the thing, not that it is of use");
                    violations.push(Violation::at(source.path, source.line_of(at), says));
                }
            }
        }
    }
    violations
}

fn says_nothing(part: &str) -> bool {
    let singular = part.trim_end_matches('s');
    SAY_NOTHING.iter().any(|word| *word == part || *word == singular)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `RunLedger` as `Run`, `Ledger`.
fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for letter in name.chars() {
        match parts.last_mut() {
            Some(part) if !letter.is_uppercase() => part.push(letter),
            _ => parts.push(letter.to_string()),
        }
    }
    parts
}

#[test]
fn a_name_that_says_nothing_is_found() {
    let tree = Tree::of(&[
        ("engine/src/utils.rs", "struct Baseline; type Rebased = u8; // struct Manager"),
        (
            "engine/src/lake/string_helpers.rs",
            "pub enum TableManager {}\npub(crate) trait BaseReader {}",
        ),
    ]);
    let expected = [
        "engine/src/lake/string_helpers.rs:0",
        "engine/src/lake/string_helpers.rs:1",
        "engine/src/lake/string_helpers.rs:2",
        "engine/src/utils.rs:0",
    ];
    assert_eq!(super::places(&check(&tree)), expected);
}
