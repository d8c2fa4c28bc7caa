//! The bytes that a parser read last. They show how a record ended: the parser returns fields without their quotes, so `"a\r"`
//! looks like `a` at the end of a CRLF line.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

/// Bytes retained from before the last read: the length of a line ending.
const BEFORE_BYTES: usize = 2;

/// Input that remembers the bytes of its last read.
pub(crate) struct Recent<R> {
    input: R,
    seen: Arc<Seen>,
}

/// The bytes of the last read of a [`Recent`] input.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Window>);

#[derive(Default)]
struct Window {
    /// The offset of the first byte in the input.
    start: u64,
    bytes: Vec<u8>,
}

impl Seen {
    /// The byte at `at`, counted from the start of the input, if it is still retained.
    pub(crate) fn byte(&self, at: u64) -> Option<u8> {
        let window = self.0.lock().ok()?;
        let index = usize::try_from(at.checked_sub(window.start)?).ok()?;
        window.bytes.get(index).copied()
    }
}

impl<R: Read> Recent<R> {
    pub(crate) fn new(input: R) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Self { input, seen: Arc::clone(&seen) }, seen)
    }
}

impl<R: Read> Read for Recent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut window =
            self.seen.0.lock().map_err(|_| io::Error::other("a reader of this input panicked"))?;
        let passed = window.bytes.len().saturating_sub(BEFORE_BYTES);
        window.start += passed as u64;
        window.bytes.drain(..passed);
        window.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_read_and_two_bytes_before_it_are_retained() {
        let (mut input, seen) = Recent::new(&b"abcdefgh"[..]);
        let mut buffer = [0; 3];
        assert_eq!(input.read(&mut buffer).unwrap(), 3);
        assert_eq!((seen.byte(0), seen.byte(2), seen.byte(3)), (Some(b'a'), Some(b'c'), None));
        assert_eq!(input.read(&mut buffer).unwrap(), 3);
        assert_eq!((seen.byte(0), seen.byte(1), seen.byte(5)), (None, Some(b'b'), Some(b'f')));
        assert_eq!(input.read(&mut buffer).unwrap(), 2);
        assert_eq!((seen.byte(3), seen.byte(4), seen.byte(7)), (None, Some(b'e'), Some(b'h')));
    }
}
