//! What is written where: results on stdout, everything else on stderr, so that a pipe gets results alone.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// How a command speaks to its user.
pub struct Output {
    json: bool,
    /// Whether the document was written.
    has_document: AtomicBool,
}

impl Output {
    /// With `json`, stdout carries one JSON document and nothing else.
    pub fn new(json: bool) -> Self {
        Self { json, has_document: AtomicBool::new(false) }
    }

    /// Whether the user asked for JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether progress can be drawn.
    pub fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Columns of the terminal that reads it, 80 where it does not say (`COLUMNS`); none, where no terminal does.
    pub fn columns(&self) -> Option<usize> {
        let is_terminal = !self.json && io::stdout().is_terminal();
        let said = || std::env::var("COLUMNS").ok()?.parse().ok();
        is_terminal.then(|| said().unwrap_or(COLUMNS))
    }

    /// Writes one JSON document to stdout.
    pub fn document(&self, value: &impl Serialize) -> engine::Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| engine::Error::internal(format!("result as JSON: {e}")))?;
        self.has_document.store(true, Ordering::Relaxed);
        self.line(&text)
    }

    /// Writes a line to stdout. A reader that went away ends the output, not the command.
    pub fn line(&self, text: &str) -> engine::Result<()> {
        match writeln!(io::stdout().lock(), "{text}") {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(engine::Error::environment(engine::Code::Internal, "write to stdout", e))
            }
            _ => Ok(()),
        }
    }

    /// Writes lines for people to stderr, without what a terminal would act on: errors have texts of others in them.
    pub fn note(&self, text: &str) {
        // Nothing can be done, or said, when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{}", plain(text));
    }

    /// Says what went wrong: for people on stderr, and as the JSON document when one was asked for and none was
    /// written.
    pub fn error(&self, error: &engine::Error) {
        // Whoever runs a command may know its machine: the cause is shown, which a server keeps to its log. Its
        // first line, because a library's error may bring a backtrace.
        let detail = error.detail();
        self.note(&format!(
            "error[{}]: {}",
            error.code(),
            detail.lines().next().unwrap_or_default()
        ));
        if self.json && !self.has_document.load(Ordering::Relaxed) {
            let document = serde_json::json!({"error": described(error)});
            let _ = writeln!(io::stdout().lock(), "{document}");
        }
    }
}

/// The code and the message of an error, as JSON.
pub fn described(error: &engine::Error) -> serde_json::Value {
    serde_json::json!({"code": error.code().as_str(), "message": error.to_string()})
}

/// Writes rows of text as columns, numbers to the right.
pub fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let numeric: Vec<bool> = (0..header.len())
        .map(|i| !rows.is_empty() && rows.iter().all(|r| r.get(i).is_some_and(|c| is_figure(c))))
        .collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, cell) in cells.into_iter().enumerate() {
            let pad = widths[i].saturating_sub(cell.chars().count());
            if i > 0 {
                text.push_str("  ");
            }
            if numeric[i] {
                text.extend(std::iter::repeat_n(' ', pad));
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// A count with thousands set apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the unit that people read it in.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn is_figure(cell: &str) -> bool {
    cell.is_empty()
        || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && cell.chars().all(|c| c.is_ascii_digit() || ",.-%+e".contains(c))
}

/// A text of others as one line of a table: its first, without what a terminal would act on.
pub fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let shown: String =
        line.chars().map(|letter| if is_unseen(letter) { ' ' } else { letter }).collect();
    match text.lines().nth(1) {
        Some(_) => format!("{shown} …"),
        None => shown,
    }
}

/// The same of several lines.
pub fn plain(text: &str) -> String {
    let is_shown = |letter: &char| !is_unseen(*letter) || *letter == '\n';
    text.chars().filter(is_shown).collect()
}

/// Whether a letter tells a terminal what to do, in the place of being shown: one that turns the direction of what stands behind it, too.
fn is_unseen(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&letter)
        || ('\u{2066}'..='\u{2069}').contains(&letter);
    letter.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = vec![vec!["a".into(), count(1_234_567)], vec!["bb".into(), count(9)]];
        assert_eq!(
            columns(&["name", "rows"], &rows),
            "name       rows\na     1,234,567\nbb            9"
        );
    }

    #[test]
    fn what_tells_a_terminal_what_to_do_is_not_shown() {
        let text = "a\u{1b}[2Jb\u{202e}c\u{2066}d\ne\tf\u{e9}";
        assert_eq!(plain(text), "a[2Jbcd\nef\u{e9}");
        assert_eq!(one_line(text), "a [2Jb c d …");
    }

    #[test]
    fn sizes_are_read_in_their_unit() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
