//! Line ends that are a lone carriage return, as old programs for the Mac write them.
//!
//! Such a text is read with CR and LF exchanged, so that the parser and all line numbers see LF. The characters are exchanged
//! back in values.

use std::fmt;
use std::io::{self, BufRead, Read};

use csv::ByteRecord;

use super::dialect::DELIMITERS;

/// Whether the lines of a text that begins with `head` end with a lone CR. Line ends in quotes are part of a value.
pub(crate) fn are_lone_cr(head: &[u8], quote: u8) -> bool {
    let (mut quotes, mut has_cr) = (Quotes::new(quote), false);
    for (at, byte) in head.iter().enumerate() {
        let is_outside = quotes.is_outside(*byte);
        match byte {
            b'\n' if is_outside => return false,
            // The last one may belong to a CRLF that the end of the head cuts.
            b'\r' if is_outside => has_cr |= at + 1 < head.len(),
            _ => {}
        }
    }
    has_cr
}

/// Which bytes of a text are in quotes.
struct Quotes {
    quote: u8,
    is_quoted: bool,
    is_start: bool,
}

impl Quotes {
    fn new(quote: u8) -> Self {
        Self { quote, is_quoted: false, is_start: true }
    }

    /// Whether the next byte is outside of quotes.
    fn is_outside(&mut self, byte: u8) -> bool {
        if self.is_quoted {
            self.is_quoted = byte != self.quote;
            return false;
        }
        self.is_quoted = byte == self.quote && self.is_start;
        // A quote right after a closing one continues the value.
        self.is_start = self.is_quoted || byte == b'\r' || DELIMITERS.contains(&byte);
        !self.is_quoted
    }
}

/// Exchanges CR and LF.
pub(crate) fn exchange(bytes: &mut [u8]) {
    for byte in bytes {
        match byte {
            b'\r' => *byte = b'\n',
            b'\n' => *byte = b'\r',
            _ => {}
        }
    }
}

/// Exchanges CR and LF in the values of a record.
pub(crate) fn exchange_in(record: &mut ByteRecord) {
    if !record.as_slice().iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return;
    }
    let mut exchanged = ByteRecord::with_capacity(record.as_slice().len(), record.len());
    for field in &*record {
        let mut field = field.to_vec();
        exchange(&mut field);
        exchanged.push_field(&field);
    }
    *record = exchanged;
}

/// A text with CR and LF exchanged. Reading fails with [`MixedLineEnds`] at a line that ends with LF.
pub(crate) struct Exchanged {
    text: Box<dyn BufRead + Send>,
    quotes: Quotes,
}

impl Exchanged {
    pub(crate) fn new(text: Box<dyn BufRead + Send>, quote: u8) -> Self {
        Self { text, quotes: Quotes::new(quote) }
    }
}

/// Some lines end with a lone CR, and others with LF.
#[derive(Debug)]
pub(crate) struct MixedLineEnds;

impl MixedLineEnds {
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for MixedLineEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the first lines of the file end with a lone carriage return, and a later one with a line feed; \
             convert all line ends to line feeds",
        )
    }
}

impl std::error::Error for MixedLineEnds {}

impl Read for Exchanged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(buffer)?;
        if buffer[..count].iter().any(|byte| self.quotes.is_outside(*byte) && *byte == b'\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, MixedLineEnds));
        }
        exchange(&mut buffer[..count]);
        Ok(count)
    }
}
