//! Takes places of the server out of a text that a library wrote.
//!
//! Messages of the SQL planner and of the readers are worth showing, but some name a file or a URL.
//! What looks like an absolute path or a URL is replaced; the rest stays as it is.

/// `text` without absolute paths and URLs, on one line and of bounded length.
pub(crate) fn scrub(text: &str) -> String {
    /// Longest message that is passed on, in characters.
    const TEXT_MAX: usize = 1_000;

    let text = untraced(text);
    let mut out = String::with_capacity(text.len().min(TEXT_MAX));
    for (i, word) in text.split_whitespace().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        push_word(&mut out, word);
    }
    if out.chars().count() > TEXT_MAX {
        out = out.chars().take(TEXT_MAX).chain("…".chars()).collect();
    }
    out
}

/// `text` without the backtrace that a library may have put behind it: that is for the log, which has it from the source.
pub(crate) fn untraced(text: &str) -> &str {
    let frame = |line: &str| {
        let number = line.trim_start().split(':').next().unwrap_or_default();
        line.starts_with(' ') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let is_trace =
        |line: &str| line.trim_start().to_lowercase().contains("backtrace:") || frame(line);
    match text.lines().skip(1).find(|line| is_trace(line)) {
        Some(line) => text[..line.as_ptr() as usize - text.as_ptr() as usize].trim_end(),
        None => text,
    }
}

fn push_word(out: &mut String, word: &str) {
    let quote = |c: char| "\"'`()[]{}<>,;=".contains(c);
    let core = word.trim_matches(quote);
    let Some(core) = core.get(..).filter(|c| is_place(c.trim_end_matches([':', '.']))) else {
        // A path may stand inside a word: key=/a/b or File("/a/b").
        return match word.find(|c: char| "\"'`(=".contains(c)) {
            Some(at) if at + 1 < word.len() && word[at + 1..].contains('/') => {
                out.push_str(&word[..=at]);
                push_word(out, &word[at + 1..]);
            }
            _ => out.push_str(word),
        };
    };
    let Some(start) = word.find(core) else { return };
    let tail = &word[start + core.len()..];
    out.push_str(&word[..start]);
    out.push_str("[place]");
    if core.ends_with(':') {
        out.push(':');
    }
    out.push_str(tail);
}

/// Whether a word is an absolute path of at least two steps, or a URL.
fn is_place(word: &str) -> bool {
    if let Some((scheme, _)) = word.split_once("://") {
        return !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    }
    let windows = word.get(1..).is_some_and(|rest| rest.len() > 2 && rest.starts_with(":\\"));
    let unix = word
        .strip_prefix('/')
        .is_some_and(|rest| rest.contains('/') && rest.starts_with(|c: char| c.is_alphanumeric()));
    windows || unix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_goes() {
        let text =
            "Json error: cut off\n   0: kernel::error\n             at /rustc/y.rs: and more";
        assert_eq!(scrub(text), "Json error: cut off");
        assert_eq!(scrub("expected 2 lines\n  0 of them"), "expected 2 lines 0 of them");
    }

    #[test]
    fn places_go_and_words_stay() {
        for (text, expected) in [
            (
                "No field named 'x'. Valid fields are a, b.",
                "No field named 'x'. Valid fields are a, b.",
            ),
            ("Object at location /srv/data/a/b.parquet: gone", "Object at location [place]: gone"),
            ("open \"/srv/a/b\", failed", "open \"[place]\", failed"),
            ("see s3://key:secret@bucket/x now", "see [place] now"),
            ("path=/srv/data/x", "path=[place]"),
            ("File(\"/srv/data/x\")", "File(\"[place]\")"),
            ("SELECT a / b FROM t", "SELECT a / b FROM t"),
            ("a line\nand another", "a line and another"),
            ("open C:\\data\\x now", "open [place] now"),
            ("no column äöü, only “größe”…", "no column äöü, only “größe”…"),
        ] {
            assert_eq!(scrub(text), expected, "{text:?}");
        }
        assert!(scrub(&"x".repeat(5_000)).len() < 1_010);
    }
}
