//! Tokens and brackets of a document, counted without building anything.

use engine::Result;

use crate::error::over_limit;
use crate::limits::Limits;

/// Fails when `document` has too many tokens or nests its brackets too deeply.
pub(crate) fn check(document: &str, limits: &Limits) -> Result<()> {
    let bytes = document.as_bytes();
    let (mut tokens, mut nesting, mut at) = (0usize, 0usize, 0usize);
    while at < bytes.len() {
        at = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                at += 1;
                continue;
            }
            b'#' => {
                at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
                continue;
            }
            b'"' => end_of_string(bytes, at),
            b'{' | b'(' | b'[' => {
                nesting += 1;
                if nesting > limits.document_nesting_max {
                    return Err(over_limit(
                        "nesting of the document",
                        limits.document_nesting_max,
                        format!("more, at byte {at}"),
                    ));
                }
                at + 1
            }
            b'}' | b')' | b']' => {
                nesting = nesting.saturating_sub(1);
                at + 1
            }
            b if is_word(b) => {
                bytes[at..].iter().position(|b| !is_word(*b)).map_or(bytes.len(), |n| at + n)
            }
            _ => at + 1,
        };
        tokens += 1;
        if tokens > limits.document_tokens_max {
            return Err(over_limit(
                "tokens of the document",
                limits.document_tokens_max,
                format!("more, at byte {at}"),
            ));
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The place behind the string that begins at `start`; the end of the text when it has no end.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let is_block = bytes[start..].starts_with(b"\"\"\"");
    let mut at = start + if is_block { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_block => {
                at += if bytes[at..].starts_with(b"\\\"\"\"") { 4 } else { 1 };
            }
            b'\\' => at += 2,
            b'"' if !is_block => return at + 1,
            b'"' if bytes[at..].starts_with(b"\"\"\"") => return at + 3,
            b'\n' if !is_block => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(document: &str) -> bool {
        check(document, &Limits::default()).is_ok()
    }

    #[test]
    fn brackets_count_where_the_parser_sees_them() {
        let deep = "[".repeat(100_000);
        assert!(!passes(&deep));
        assert!(!passes(&"{a".repeat(65)));
        assert!(passes(&"{a".repeat(64)));
        assert!(passes(&format!("# {deep}\n{{ a }}")));
        assert!(passes(&format!("{{ a(b: \"{}\") }}", "[".repeat(100))));
        assert!(passes(&format!(
            "{{ a(b: \"\"\"{} \" \\\"\"\" {} \"\"\") }}",
            "[".repeat(60),
            "[".repeat(60)
        )));
        assert!(!passes(&format!("{{ a(b: \"x\\\\\" {deep}")));
        assert!(!passes(&format!("\"broken\n{deep}")));
    }

    #[test]
    fn tokens_are_counted() {
        assert!(passes(&"a ".repeat(10_000)));
        assert!(!passes(&"a ".repeat(10_001)));
        assert!(!passes(&"!".repeat(10_001)));
        assert!(passes(&" ,\n\t".repeat(100_000)));
    }
}
