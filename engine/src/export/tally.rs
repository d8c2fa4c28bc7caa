//! A writer that counts and hashes the bytes of an encoder.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// What went through a [`TallyWriter`], so that a file can be held against what is said of it.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<(u64, Sha256)>>);

/// So many bytes, and which ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tallied {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// A writer whose bytes are counted and digested once they are taken.
#[derive(Debug)]
pub struct TallyWriter<W> {
    to: W,
    tally: Tally,
}

impl Tally {
    /// Of all that is written to `to`.
    pub fn over<W: Write>(to: W) -> (Self, TallyWriter<W>) {
        let tally = Self::default();
        (tally.clone(), TallyWriter { to, tally })
    }

    /// What was written so far.
    pub fn tallied(&self) -> Tallied {
        let (bytes, digest) = self.0.lock().clone();
        let sha256 = digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Tallied { bytes, sha256 }
    }
}

impl<W: Write> Write for TallyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.to.write(bytes)?;
        let mut tally = self.tally.0.lock();
        tally.0 += taken as u64;
        tally.1.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
