//! Line ends that are a lone carriage return, as old programs for the Mac write them.
//!
//! Such a text is read with CR and LF exchanged, so that the parser and all line numbers see LF. The characters are exchanged
//! back in values.

use std::io::{self, BufRead, Read};

use csv::ByteRecord;

use super::dialect::DELIMITERS;

/// Whether the lines of a text that begins with `head` end with a lone CR. Line ends in quotes are part of a value.
pub(crate) fn are_lone_cr(head: &[u8], quote: u8) -> bool {
    let (mut is_quoted, mut is_start, mut has_cr) = (false, true, false);
    for (at, byte) in head.iter().enumerate() {
        if is_quoted {
            is_quoted = *byte != quote;
            continue;
        }
        match byte {
            b'\n' => return false,
            // The last one may belong to a CRLF that the end of the head cuts.
            b'\r' => has_cr |= at + 1 < head.len(),
            _ if *byte == quote => is_quoted = is_start,
            _ => {}
        }
        // A quote right after a closing one continues the value.
        is_start = is_quoted || *byte == b'\r' || DELIMITERS.contains(byte);
    }
    has_cr
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

/// A text with CR and LF exchanged.
pub(crate) struct Exchanged(pub(crate) Box<dyn BufRead + Send>);

impl Read for Exchanged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        exchange(&mut buffer[..count]);
        Ok(count)
    }
}
