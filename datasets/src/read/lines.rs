//! Lines of a text source, each bounded: an endless line is skipped, not held.

use std::io::{self, BufRead, Read};

use super::encoding::BYTE_ORDER_MARK;

/// Reads lines.
pub(crate) struct Lines {
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
    max_bytes: usize,
}

/// One line, its end cut off.
pub(crate) struct Line<'a> {
    pub(crate) bytes: &'a [u8],
    /// From 1.
    pub(crate) number: u64,
    /// Whether it was longer than allowed; `bytes` is then its beginning.
    pub(crate) cut: bool,
}

impl Lines {
    pub(crate) fn new(input: Box<dyn BufRead + Send>, max_bytes: usize) -> Self {
        Self { input, line: Vec::new(), number: 0, max_bytes }
    }

    /// The next line that is not blank.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            // A byte order mark is of no line.
            let mark = if self.number == 0 { BYTE_ORDER_MARK.len() } else { 0 };
            let limit = (self.max_bytes + 2 + mark) as u64;
            let count = (&mut self.input).take(limit).read_until(b'\n', &mut self.line)?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            let ended = self.line.last() == Some(&b'\n');
            if ended {
                self.line.pop();
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
            }
            let cut = self.line.len() > self.max_bytes;
            if cut {
                if !ended {
                    self.skip_line()?;
                }
                self.line.truncate(self.max_bytes.min(ORIGINAL_KEPT_BYTES));
            }
            if cut || !self.line.trim_ascii().is_empty() {
                return Ok(Some(Line { bytes: &self.line, number: self.number, cut }));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => {
                    self.input.consume(at + 1);
                    return Ok(());
                }
                None => {
                    let all = buffer.len();
                    self.input.consume(all);
                }
            }
        }
    }
}

/// How much is kept of a row that was too long to be read.
pub(crate) const ORIGINAL_KEPT_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_long_ones_are_cut() {
        let text = format!("\u{feff}a\r\n\n  \nb\n{}\nc", "x".repeat(50));
        let mut lines = Lines::new(Box::new(io::Cursor::new(text.into_bytes())), 10);
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.number, line.cut));
        }
        let expected = [("a", 1, false), ("b", 4, false), ("xxxxxxxxxx", 5, true), ("c", 6, false)];
        assert_eq!(seen, expected.map(|(t, n, c)| (t.to_owned(), n, c)));
    }

    #[test]
    fn a_byte_order_mark_is_of_no_line() {
        // As long as is allowed, and longer by up to what could be taken for the mark.
        for length in 10..16 {
            let text = format!("\u{feff}{}\nb", "x".repeat(length));
            let mut lines = Lines::new(Box::new(io::Cursor::new(text.into_bytes())), 10);
            let first = lines.next_line().unwrap().unwrap();
            assert_eq!((first.bytes, first.cut), (&[b'x'; 10][..], length > 10), "{length}");
            assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"b", "{length}");
            assert!(lines.next_line().unwrap().is_none());
        }
    }
}
