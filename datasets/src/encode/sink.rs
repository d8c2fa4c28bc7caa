//! Where text is written: a string, or a writer that takes it in pieces of bounded size.

use std::io::{self, Write};

use arrow::error::ArrowError;

/// Bytes of text that a writer gets at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a long value that are encoded at once. Divisible by three, so that base64 pads only the
/// last part.
const PART_BYTES: usize = 30 << 10;

/// Takes text.
pub trait Sink {
    /// Text that is not yet written out. Encoders append to it.
    fn text(&mut self) -> &mut String;
    /// Writes the text out if there is much of it. Called between values, and between the parts of
    /// a long value.
    fn flush_if_full(&mut self) -> Result<(), ArrowError>;
}

impl Sink for String {
    fn text(&mut self) -> &mut String {
        self
    }

    fn flush_if_full(&mut self) -> Result<(), ArrowError> {
        Ok(())
    }
}

/// Text on its way to a writer. It holds at most some hundred KiB, however long a value is.
pub struct TextPieces<'a> {
    text: String,
    bytes_written: usize,
    to: &'a mut dyn Write,
}

impl<'a> TextPieces<'a> {
    /// Empty text for `to`.
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self { text: String::new(), bytes_written: 0, to }
    }

    /// Appends to the text.
    pub fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Bytes of the text so far.
    pub(super) fn position(&self) -> usize {
        self.bytes_written + self.text.len()
    }

    /// Writes out the last piece.
    pub fn finish(self) -> io::Result<()> {
        self.to.write_all(self.text.as_bytes())
    }
}

impl std::fmt::Debug for TextPieces<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextPieces").field("bytes", &self.text.len()).finish()
    }
}

impl Sink for TextPieces<'_> {
    fn text(&mut self) -> &mut String {
        &mut self.text
    }

    fn flush_if_full(&mut self) -> Result<(), ArrowError> {
        if self.text.len() >= PIECE_BYTES {
            self.to.write_all(self.text.as_bytes())?;
            self.bytes_written += self.text.len();
            self.text.clear();
        }
        Ok(())
    }
}

/// Encodes a text part by part, so that a sink never holds much of a long one.
pub(super) fn push_parts(
    out: &mut impl Sink,
    mut text: &str,
    push: impl Fn(&str, &mut String),
) -> Result<(), ArrowError> {
    while text.len() > PART_BYTES {
        let (part, rest) = text.split_at(text.floor_char_boundary(PART_BYTES));
        push(part, out.text());
        out.flush_if_full()?;
        text = rest;
    }
    push(text, out.text());
    Ok(())
}

/// The same for bytes.
pub(super) fn push_bytes(
    out: &mut impl Sink,
    bytes: &[u8],
    push: impl Fn(&[u8], &mut String),
) -> Result<(), ArrowError> {
    for part in bytes.chunks(PART_BYTES) {
        push(part, out.text());
        out.flush_if_full()?;
    }
    Ok(())
}
