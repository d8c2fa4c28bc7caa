//! Just enough of Rust's grammar to search it: what is code and what is comment or text, which spans
//! an attribute covers, and which of them are compiled for tests only.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::tree::Tree;

/// A source file with its comments and the contents of its strings blanked, byte for byte, so that
/// offsets and lines stay those of the file.
pub struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
    pub code: String,
    attributes: Vec<Attribute>,
    is_test_file: bool,
}

/// `#[…]` or `#![…]`: its text without the brackets, and the bytes of the item it stands on.
struct Attribute {
    text: String,
    covers: Range<usize>,
}

/// Every Rust source of the tree. Files that only a `#[cfg(test)] mod …;` reaches know it.
pub fn sources(tree: &Tree) -> Vec<Source<'_>> {
    let mut sources: Vec<Source<'_>> =
        tree.ending_in(".rs").map(|(path, text)| Source::new(path, text)).collect();
    let test_modules: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let file = source.path.trim_end_matches(".rs");
        let folders = file.match_indices('/').map(|(at, _)| &file[..at]);
        source.is_test_file |= folders.chain([file]).any(|part| test_modules.contains(part));
    }
    sources
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let code = mask(text);
        let attributes = attributes(text, &code);
        let part = |name: &str| {
            path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"))
        };
        let is_test_file = part("tests") || part("benches") || part("examples");
        Self { path, text, code, attributes, is_test_file }
    }

    pub fn line_of(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    /// Whether this place is compiled for tests (or benchmarks) only.
    pub fn is_test(&self, offset: usize) -> bool {
        let test = |attribute: &&Attribute| attribute.is_test();
        self.is_test_file || self.attributes.iter().filter(test).any(|a| a.covers.contains(&offset))
    }

    /// Whether an attribute over this place allows the lint and says why.
    pub fn is_allowed(&self, offset: usize, lint: &str) -> bool {
        self.attributes.iter().any(|attribute| {
            let text = &attribute.text;
            attribute.covers.contains(&offset)
                && (text.starts_with("allow(") || text.starts_with("expect("))
                && text.contains(lint)
                && text.contains("reason")
        })
    }

    /// Where a name stands in the code as a whole word.
    pub fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        let bytes = self.code.as_bytes();
        let is_part =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            !is_part(before) && !is_part(bytes.get(at + word.len()))
        })
    }

    /// Attributes by their text, with the line of what they stand on.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.attributes.iter().map(|a| (a.text.as_str(), self.line_of(a.covers.start)))
    }

    /// The files, without `.rs`, of the modules that `#[cfg(test)] mod name;` declares here.
    fn test_modules(&self) -> Vec<String> {
        let file = self.path.trim_end_matches(".rs");
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let inside = if ["mod", "lib", "main"].contains(&name) { folder } else { file };
        let mut modules = Vec::new();
        for attribute in self.attributes.iter().filter(|attribute| attribute.is_test()) {
            let item = self.code[attribute.covers.clone()].trim_end();
            let after = item.rsplit_once("mod ").map(|(_, name)| name.trim_end_matches(';').trim());
            if let (true, Some(name)) = (item.ends_with(';'), after) {
                modules.push(format!("{inside}/{name}"));
            }
        }
        modules
    }
}

impl Attribute {
    fn is_test(&self) -> bool {
        let text = self.text.replace(' ', "");
        text == "test"
            || text == "cfg(test)"
            || text.starts_with("cfg(all(test,")
            // The tests of `kernels` that a binary carries to a machine with a GPU.
            || text.starts_with("cfg(any(test,feature=\"suite\"")
            || text.starts_with("tokio::test")
    }
}

/// Blanks comments, and what strings and characters hold.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => find(text, at, "\n"),
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' | b'b' | b'c' if !follows_a_word(bytes, at) => match raw_string(text, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => end_of_character(text, at),
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters are blanked")
}

fn find(text: &str, from: usize, what: &str) -> usize {
    text[from..].find(what).map_or(text.len(), |at| from + at)
}

fn follows_a_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// Block comments nest.
fn end_of_comment(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `br#"…"#` and the like, if one begins here.
fn raw_string(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let hashes_at = rest.find('r').filter(|&at| at <= 1)? + 1;
    let hashes = rest[hashes_at..].bytes().take_while(|&byte| byte == b'#').count();
    let open = from + hashes_at + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some((find(text, open + 1, &close) + close.len()).min(text.len()))
}

/// A quote opens a character, or names a lifetime.
fn end_of_character(text: &str, from: usize) -> usize {
    let mut characters = text[from + 1..].char_indices();
    match characters.next() {
        Some((_, '\\')) => {
            // The escaped character may be a quote itself.
            let escaped = from + 3;
            (find(text, escaped.min(text.len()), "'") + 1).min(text.len())
        }
        Some(_) => match characters.next() {
            Some((next, '\'')) => from + 1 + next + 1,
            _ => from + 1,
        },
        None => text.len(),
    }
}

fn attributes(text: &str, code: &str) -> Vec<Attribute> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices('#') {
        let is_inner = code[at + 1..].starts_with('!');
        let open = at + 1 + usize::from(is_inner);
        if !code[open..].starts_with('[') {
            continue;
        }
        let Some(close) = closing(code, open) else { continue };
        let covers = if is_inner {
            // Of the module or block it stands in: up to the brace that is closed and was never opened.
            at..closing(code, at).unwrap_or(code.len())
        } else {
            close..end_of_item(code, close)
        };
        found.push(Attribute { text: text[open + 1..close - 1].trim().to_owned(), covers });
    }
    found
}

/// The end of the bracket that opens here; or, when none opens here, of the one around this place.
fn closing(code: &str, from: usize) -> Option<usize> {
    let opens_here = code[from..].starts_with(['[', '(', '{']);
    let mut depth = i32::from(!opens_here);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Items that may hold a comma before they end.
const ITEMS: [&str; 15] = [
    "pub", "fn", "mod", "impl", "struct", "enum", "trait", "use", "const", "static", "type",
    "async", "unsafe", "extern", "let",
];

/// The end of the item, statement, field or arm that begins after an attribute.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut start = from + code[from..].len() - code[from..].trim_start().len();
    while code[start..].starts_with("#[") {
        let Some(close) = closing(code, start + 1) else { return code.len() };
        start = close + code[close..].len() - code[close..].trim_start().len();
    }
    let word = code[start..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
    let is_item = word.is_some_and(|word| ITEMS.contains(&word));
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            b',' if depth == 0 && !is_item => return at + 1,
            _ => continue,
        }
        if depth < 0 {
            return at;
        }
        if depth == 0 && byte == b'}' {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Source<'_> {
        Source::new("engine/src/a.rs", text)
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let text =
            "a /* b /* c */ d */ e // f\n\"g\\\"h\" 'i' '\\'' '\\u{1F}' r#\"j\"k\"# br\"l\" 'm: n";
        let code = mask(text);
        assert_eq!(code.split_whitespace().collect::<String>(), "aem:n");
        assert_eq!(code.len(), text.len());
    }

    #[test]
    fn words_are_whole() {
        let source = one("unsafe fn is_unsafe(unsafely: u8) {}");
        assert_eq!(source.words("unsafe").count(), 1);
    }

    #[test]
    fn a_test_ends_where_its_item_ends() {
        let text = "#[cfg(test)]\nmod tests { fn f<A, B>() { x(); } }\nfn g() { y(); }\n#[test]\nfn h() -> [u8; 2] { z() }";
        let source = one(text);
        let is_test = |word: &str| source.is_test(text.find(word).unwrap());
        assert!(is_test("x()") && !is_test("y()") && is_test("z()"));
    }

    #[test]
    fn a_module_declared_for_tests_is_one_in_its_own_file() {
        let tree = Tree::of(&[
            (
                "engine/src/lake/mod.rs",
                "#[cfg(any(test, feature = \"suite\"))]\nmod faults;\n#[cfg(any(test, unix))]\nmod log;",
            ),
            ("engine/src/lake/faults.rs", ""),
            ("engine/src/lake/log.rs", "#[cfg(all(test, unix))] mod torn;"),
            ("engine/src/lake/log/torn/writes.rs", ""),
        ]);
        let is_test: Vec<bool> = sources(&tree).iter().map(|source| source.is_test_file).collect();
        assert_eq!(is_test, [true, false, true, false]);
    }

    #[test]
    fn an_allowance_covers_its_statement_and_needs_a_reason() {
        let text = "fn f() {\n#[expect(clippy::unwrap_used, reason = \"r\")]\nlet a = b.unwrap();\nc.unwrap();\n}\n#[allow(clippy::unwrap_used)]\nfn g() { d.unwrap() }";
        let source = one(text);
        let allowed: Vec<bool> =
            source.words("unwrap").map(|at| source.is_allowed(at, "unwrap_used")).collect();
        assert_eq!(allowed, [true, false, false]);
    }
}
