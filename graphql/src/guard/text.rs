//! Tokens and brackets of a document, counted without building anything.
//!
//! Comments and strings end where the parser's grammar ends them, else brackets behind them would not be counted: a
//! line ends at `\n` and at `\r`, and a block string without an end is an empty string and what follows it.

use engine::Result;

use crate::error::over_limit;
use crate::limits::Limits;

/// Fails when `document` has too many tokens or nests its brackets too deeply.
pub(crate) fn check(document: &str, limits: &Limits) -> Result<()> {
    let bytes = document.as_bytes();
    let (mut tokens, mut nesting, mut at) = (0usize, 0usize, 0usize);
    // Looked for once: where one block string finds no end, no later one does.
    let mut blocks_end = true;
    while at < bytes.len() {
        at = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                at += 1;
                continue;
            }
            b'#' => {
                at = bytes[at..].iter().position(is_line_end).map_or(bytes.len(), |n| at + n);
                continue;
            }
            b'"' => end_of_string(bytes, at, &mut blocks_end),
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

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The place behind the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize, blocks_end: &mut bool) -> usize {
    if !bytes[start..].starts_with(b"\"\"\"") {
        return end_of_line_string(bytes, start + 1);
    }
    let end = blocks_end.then(|| end_of_block(bytes, start + 3)).flatten();
    *blocks_end = end.is_some();
    end.unwrap_or(start + 2)
}

/// The place behind the `"""` that ends the block string whose text begins at `at`.
fn end_of_block(bytes: &[u8], mut at: usize) -> Option<usize> {
    while at < bytes.len() {
        at += match &bytes[at..] {
            [b'\\', b'"', b'"', b'"', ..] => 4,
            [b'"', b'"', b'"', ..] => return Some(at + 3),
            _ => 1,
        };
    }
    None
}

/// The place behind the quote that ends the string, or of the end of its line or of the text, where the parser gives up.
fn end_of_line_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        at += match bytes[at] {
            b'\\' => 2,
            b'"' => return at + 1,
            b'\n' | b'\r' => return at,
            _ => 1,
        };
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
        assert!(!passes(&format!("\"broken\r{deep}")));
    }

    #[test]
    fn brackets_behind_what_ends_for_the_parser_are_counted() {
        let deep = "[".repeat(1_200);
        assert!(!passes(&format!("{{ events(where: #\r{deep}")));
        assert!(passes(&format!("{{ a #{deep}\r}}")));
        // No block string, because it has no end: an empty string, a string, and a list.
        assert!(!passes(&format!("{{ events(where: [\"\"\"x\"{deep}")));
        assert!(!passes(&format!("{{ events(where: [\"\"\"\\\"\"\"x\"{deep}")));
    }

    #[test]
    fn the_end_of_a_block_is_looked_for_once() {
        let started = std::time::Instant::now();
        assert!(!passes(&"\\\"\"\" ".repeat(200_000)));
        assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    }

    #[test]
    fn tokens_are_counted() {
        assert!(passes(&"a ".repeat(10_000)));
        assert!(!passes(&"a ".repeat(10_001)));
        assert!(!passes(&"!".repeat(10_001)));
        assert!(passes(&" ,\n\t".repeat(100_000)));
    }
}
