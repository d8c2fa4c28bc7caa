//! A JSON array as one line for each of its items.
//!
//! It is not held: items are cut apart as their bytes come. What stands between items is of none; a line break inside an item is
//! a space, and one inside a text is left, where no JSON has it.

use std::io::{self, BufRead, ErrorKind, Read};

use super::encoding::without_mark;

/// An array that ends in the middle.
#[derive(Debug, thiserror::Error)]
#[error("the array has no end: expected \"]\"")]
pub(super) struct NoEnd;

/// Reads the items of an array.
pub(super) struct ArrayItems {
    input: Box<dyn BufRead + Send>,
    ready: Vec<u8>,
    at: usize,
    place: Place,
    /// Brackets that are open in the item.
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// Whether the item has begun, and whether there must be one.
    has_item: bool,
    needs_item: bool,
}

/// Bytes that are cut apart at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Where in the document the next byte stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Before,
    Inside,
    After,
    /// Behind what follows the array.
    Behind,
}

impl ArrayItems {
    pub(super) fn new(input: Box<dyn BufRead + Send>) -> Self {
        let (ready, at, place) = (Vec::new(), 0, Place::Before);
        let (in_text, is_escaped, has_item, needs_item) = (false, false, false, false);
        Self { input, ready, at, place, depth: 0, in_text, is_escaped, has_item, needs_item }
    }

    /// Whether a text that begins so is an array.
    pub(super) fn begins(head: &[u8]) -> bool {
        let head = without_mark(head);
        head.trim_ascii_start().first() == Some(&b'[')
    }

    fn take(&mut self, byte: u8) {
        if self.place != Place::Inside {
            match (self.place, byte) {
                (Place::Before, b'[') => self.place = Place::Inside,
                (Place::Before, _) => {}
                // What follows the array is of no item: a line that is no document.
                _ if self.place == Place::After && !byte.is_ascii_whitespace() => {
                    self.place = Place::Behind;
                    self.ready.extend([b']', byte]);
                }
                _ => self.ready.push(byte),
            }
            return;
        }
        if self.in_text {
            self.in_text = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            self.ready.push(byte);
            return;
        }
        match byte {
            b',' if self.depth == 0 => {
                self.end_item(true);
                self.needs_item = true;
            }
            b']' if self.depth == 0 => {
                self.end_item(self.needs_item);
                self.place = Place::After;
            }
            b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {}
            b'\r' | b'\n' => self.ready.push(b' '),
            _ => {
                match byte {
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    b'"' => self.in_text = true,
                    _ => {}
                }
                self.has_item = true;
                self.ready.push(byte);
            }
        }
    }

    /// An item that is needed and not there is a line that is no document.
    fn end_item(&mut self, is_needed: bool) {
        if is_needed && !self.has_item {
            self.ready.push(b',');
        }
        self.ready.push(b'\n');
        self.has_item = false;
    }
}

impl Read for ArrayItems {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for ArrayItems {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.ready.len() {
            self.ready.clear();
            self.at = 0;
            let chunk = self.input.fill_buf()?;
            let chunk = chunk[..chunk.len().min(CHUNK_BYTES)].to_vec();
            if chunk.is_empty() {
                return match self.place {
                    Place::After | Place::Behind => Ok(&[]),
                    _ => Err(io::Error::new(ErrorKind::UnexpectedEof, NoEnd)),
                };
            }
            chunk.iter().for_each(|byte| self.take(*byte));
            self.input.consume(chunk.len());
        }
        Ok(&self.ready[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.ready.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufReader, Cursor};

    use super::*;

    fn lines(text: &str, chunk: usize) -> io::Result<Vec<String>> {
        let input = BufReader::with_capacity(chunk, Cursor::new(text.to_owned()));
        let mut out = String::new();
        ArrayItems::new(Box::new(input)).read_to_string(&mut out)?;
        // Blank lines are of nobody.
        Ok(out.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    #[test]
    fn items_are_lines_however_they_come() {
        let text = "\u{feff} [\n  {\"a\": \"x,]\\\"[\",\n \"b\": [1,\n{\"c\": 2}]},\r\n{},3 , \"t\\\\\"]\n";
        let expected = ["{\"a\": \"x,]\\\"[\",  \"b\": [1, {\"c\": 2}]}", "{}", "3", "\"t\\\\\""];
        for chunk in [1, 2, 3, 7, 64, 4_096] {
            assert_eq!(lines(text, chunk).unwrap(), expected, "{chunk}");
        }
        assert!(lines("[]", 8).unwrap().is_empty());
        // What is no array of items has lines that are no documents.
        assert_eq!(lines("[1]\n[2]", 8).unwrap(), ["1", "][2]"]);
        assert_eq!(lines("[1,,2,]", 8).unwrap(), ["1", ",", "2", ","]);
        assert_eq!(lines("[,1] {\"a\": 1}", 8).unwrap(), [",", "1", " ]{\"a\": 1}"]);
    }

    #[test]
    fn an_array_without_its_end_is_an_error() {
        for text in ["[", "[{\"a\": 1}", "[{\"a\": \"]"] {
            let error = lines(text, 16).unwrap_err();
            assert!(error.to_string().contains("has no end"), "{error}");
        }
        assert!(
            ArrayItems::begins(b"\xEF\xBB\xBF \n[")
                && !ArrayItems::begins(b"{[")
                && !ArrayItems::begins(b"")
        );
    }
}
