//! No data and no user brings a process down: what can fail returns an error. Clippy looks for the
//! same; here an exception must also say why it cannot be reached, and unfinished code has none.

use crate::source::{Source, sources};
use crate::tree::{Tree, Violation};

/// What panics, how it is written, and the lint an exception names.
const PANICS: [(&str, Form, &str); 5] = [
    ("unwrap", Form::Method, "unwrap_used"),
    ("expect", Form::Method, "expect_used"),
    ("panic", Form::Macro, "clippy::panic"),
    ("todo", Form::Macro, NEVER),
    ("unimplemented", Form::Macro, NEVER),
];

const NEVER: &str = "no exception";

enum Form {
    Method,
    Macro,
}

pub fn check(tree: &Tree) -> Vec<Violation> {
    sources(tree).iter().flat_map(check_source).collect()
}

fn check_source(source: &Source<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (word, form, lint) in &PANICS {
        for at in source.words(word) {
            let after = &source.code[at + word.len()..];
            let is_call = match form {
                Form::Method => {
                    source.code[..at].trim_end().ends_with('.') && after.starts_with('(')
                }
                Form::Macro => after.starts_with('!'),
            };
            let is_excused = *lint != NEVER && (source.is_test(at) || source.is_allowed(at, lint));
            if is_call && !is_excused {
                let says =
                    format!("`{word}` on a path that data or a user may reach, without a reason");
                violations.push(Violation::at(source.path, source.line_of(at), says));
            }
        }
    }
    violations
}

#[test]
fn a_panic_is_found_unless_it_is_a_test_or_says_why() {
    let tree = Tree::of(&[
        (
            "engine/src/a.rs",
            r#"fn f() {
    a.unwrap();
    b
        .expect("c");
    panic!("d");
    e.unwrap_or(1).expect_one("f.unwrap()"); // g.unwrap()
}
#[expect(clippy::expect_used, reason = "the pattern is a constant")]
fn g() { h.expect("valid") }
#[cfg(test)]
mod tests { fn i() { j.unwrap(); todo!() } }
"#,
        ),
        ("engine/tests/k.rs", "fn l() { m.unwrap() }"),
    ]);
    let mut places = super::places(&check(&tree));
    places.sort();
    let expected = [2, 4, 5, 11].map(|line| format!("engine/src/a.rs:{line}"));
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(places, expected);
}
