//! What the documents promise is there: a code map of every crate, links that lead somewhere,
//! commands that exist.

use std::collections::BTreeSet;

use crate::tree::{Tree, Violation};

const CODE_MAP: &str = "docs/architecture.md";

/// Every crate has its place in the code map.
pub fn code_map(tree: &Tree) -> Vec<Violation> {
    let Some(map) = tree.get(CODE_MAP) else {
        return vec![Violation::at(CODE_MAP, 0, "there is no code map")];
    };
    let headings: Vec<&str> = map.lines().filter(|line| line.starts_with('#')).collect();
    let mut violations = Vec::new();
    for member in tree.members() {
        let is_mapped = headings.iter().any(|heading| heading.contains(&format!("`{member}")));
        if !is_mapped {
            violations.push(Violation::at(CODE_MAP, 0, format!("no heading for crate `{member}`")));
        }
    }
    violations
}

/// Links inside the repository lead to a file, and to a heading where they name one.
pub fn links(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.ending_in(".md") {
        for (line, target) in
            prose(text).flat_map(|(line, text)| targets(text).map(move |t| (line, t)))
        {
            let is_outside = target.contains("://") || target.starts_with("mailto:");
            if is_outside {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
            let is_folder = tree.iter().any(|(other, _)| other.starts_with(&format!("{file}/")));
            let says = match tree.get(&file) {
                None if is_folder && heading.is_empty() => continue,
                None => format!("`{target}` leads to no file"),
                Some(text) if !heading.is_empty() && !anchors(text).contains(heading) => {
                    format!("`{target}` leads to no heading")
                }
                Some(_) => continue,
            };
            violations.push(Violation::at(path, line, says));
        }
    }
    violations
}

/// `make …` in a document is a target of the Makefile.
pub fn commands(tree: &Tree) -> Vec<Violation> {
    let makefile = tree.get("Makefile").unwrap_or("");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
        .filter_map(|line| line.split_once(':').map(|(target, _)| target.trim()))
        .collect();
    let mut violations = Vec::new();
    for required in ["README.md", "CONTRIBUTING.md"] {
        if tree.get(required).is_none() {
            violations.push(Violation::at(required, 0, "there is no such document"));
        }
    }
    for (path, text) in tree.ending_in(".md") {
        for (line, command) in code(text) {
            let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
            if words.next() != Some("make") {
                continue;
            }
            let target = words.find(|word| !word.starts_with('-') && !word.contains('='));
            if let Some(target) = target.filter(|target| !targets.contains(target)) {
                let says = format!("`make {target}` is no target of the Makefile");
                violations.push(Violation::at(path, line, says));
            }
        }
    }
    violations
}

/// Lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((index + 1, line))
    })
}

/// Commands: lines of fenced blocks, and what stands between back quotes.
fn code(text: &str) -> Vec<(usize, &str)> {
    let prose_lines: BTreeSet<usize> = prose(text).map(|(line, _)| line).collect();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if prose_lines.contains(&(index + 1)) {
            found.extend(line.split('`').skip(1).step_by(2).map(|quoted| (index + 1, quoted)));
        } else {
            found.push((index + 1, line.trim_start().trim_start_matches("$ ")));
        }
    }
    found
}

/// What the links of a line point to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

/// A relative path from a document, without its `.` and `..`.
fn resolve(document: &str, target: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that a page of this text has: headings in lower case, punctuation dropped.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn a_crate_that_is_not_on_the_map_is_found() {
    let root = ("Cargo.toml", "[workspace]\nmembers = [\"kernels\", \"engine\"]");
    let tree = Tree::of(&[root, (CODE_MAP, "# Map\n## `kernels/`\nStands below `engine`.")]);
    assert!(code_map(&tree)[0].says.contains("`engine`"));
    assert_eq!(code_map(&Tree::of(&[root])).len(), 1);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let page = "[a](../README.md#two-commands) [b](gone.md)\n[c](https://example.org) [d](#here)\n```\n[e](not a link)\n```\n[f](../docs/) [g](../README.md#gone)\n";
    let tree = Tree::of(&[("README.md", "# Two commands\n"), ("docs/page.md", page)]);
    assert_eq!(
        super::places(&links(&tree)),
        ["docs/page.md:1", "docs/page.md:2", "docs/page.md:6"]
    );
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let tree = Tree::of(&[
        ("Makefile", "ROWS ?= 1\n.PHONY: test\ntest: a b ## run\n\tmake other\n"),
        (
            "README.md",
            "`make test` and `make tea`, to make things\n```sh\n$ ROWS=2 make test\nmake demo\n```\n",
        ),
    ]);
    assert_eq!(
        super::places(&commands(&tree)),
        ["CONTRIBUTING.md:0", "README.md:1", "README.md:4"]
    );
}
