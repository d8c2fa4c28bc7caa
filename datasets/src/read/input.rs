//! Where bytes come from: a file or an upload's body, gzip seen through, read once and in order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;

use super::json_array::NoEnd;
use crate::error::{Error, Result};

/// Bytes read from a file at a time.
const BUFFER_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// A thing to read. `name` is what messages and positions show: never a path of the server.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file on disk.
    File {
        /// Where it is.
        path: PathBuf,
        /// What the user calls it.
        name: String,
    },
    /// Bytes in memory, such as the body of an upload.
    Body {
        /// The bytes.
        bytes: Bytes,
        /// What the user calls it.
        name: String,
    },
}

impl Source {
    /// What messages call it.
    pub fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Body { name, .. } => name,
        }
    }

    /// The first bytes, unpacked when the source is gzip; at most `count`.
    pub fn head(&self, count: usize) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        let read = self.text()?.take(count as u64).read_to_end(&mut head);
        match read {
            Ok(_) => Ok(head),
            // What came before the damage is still the head.
            Err(_) if !head.is_empty() => Ok(head),
            Err(error) => Err(self.io("read", error)),
        }
    }

    /// Opens the source for reading its bytes from the start, as they are.
    pub fn bytes(&self) -> Result<Box<dyn Read + Send>> {
        match self {
            Self::Body { bytes, .. } => Ok(Box::new(bytes.clone().reader())),
            Self::File { .. } => Ok(Box::new(self.file()?)),
        }
    }

    /// Opens the source for reading from the start, unpacked when it is gzip.
    pub fn text(&self) -> Result<Box<dyn BufRead + Send>> {
        match self {
            Self::Body { bytes, .. } => {
                if bytes.starts_with(&GZIP_MAGIC) {
                    let unpacked = MultiGzDecoder::new(bytes.clone().reader());
                    return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
                }
                Ok(Box::new(bytes.clone().reader()))
            }
            Self::File { .. } => {
                let mut file = BufReader::with_capacity(BUFFER_BYTES, self.file()?);
                let gzip =
                    file.fill_buf().map_err(|e| self.io("read", e))?.starts_with(&GZIP_MAGIC);
                if gzip {
                    let unpacked = MultiGzDecoder::new(file);
                    return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
                }
                Ok(Box::new(file))
            }
        }
    }

    /// Opens the file of a [`Source::File`].
    pub(crate) fn file(&self) -> Result<File> {
        match self {
            Self::File { path, .. } => File::open(path).map_err(|e| self.io("open", e)),
            Self::Body { .. } => Err(Error::Internal("a body has no file".into())),
        }
    }

    /// Takes the whole source into memory, unpacked; fails when that is over `limit_bytes`.
    pub(crate) fn whole(&self, limit_bytes: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.text()?
            .take(limit_bytes as u64 + 1)
            .read_to_end(&mut all)
            .map_err(|e| self.io("read", e))?;
        if all.len() > limit_bytes {
            return Err(Error::Limit {
                source_name: self.name().into(),
                what: "the unpacked file".into(),
                limit: limit_bytes as u64,
                unit: "bytes",
            });
        }
        Ok(all)
    }

    /// The error of reading this source: damaged gzip is the source's fault, the rest the environment's.
    pub fn io(&self, action: &'static str, error: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let source_name = self.name().to_owned();
        if error.get_ref().is_some_and(|inner| inner.is::<NoEnd>()) {
            return Error::Unreadable { source_name, format: "JSON", problem: error.to_string() };
        }
        if matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
            return Error::Unreadable { source_name, format: "gzip", problem: error.to_string() };
        }
        Error::Io { source_name, action, error }
    }
}

/// Input that counts the lines passed, and fails once one record has taken more than it may.
pub(crate) struct Tracked {
    input: Box<dyn BufRead + Send>,
    meter: Arc<Meter>,
    limit_bytes: usize,
}

/// What a [`Tracked`] input has passed.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    lines: AtomicU64,
    record_bytes: AtomicUsize,
}

impl Meter {
    /// Line on which reading stands, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.lines.load(Ordering::Relaxed) + 1
    }

    /// A new record begins here.
    pub(crate) fn begin_record(&self) {
        self.record_bytes.store(0, Ordering::Relaxed);
    }
}

impl Tracked {
    pub(crate) fn new(input: Box<dyn BufRead + Send>, limit_bytes: usize) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        (Self { input, meter: Arc::clone(&meter), limit_bytes }, meter)
    }

    /// Whether an error is this input's own.
    pub(crate) fn is_limit(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::FileTooLarge
    }
}

impl BufRead for Tracked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.meter.record_bytes.load(Ordering::Relaxed) > self.limit_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed is what the last call of `fill_buf` gave, so this one gives it again.
        if let Ok(buffer) = self.input.fill_buf() {
            let passed = &buffer[..count.min(buffer.len())];
            let lines = passed.iter().filter(|b| **b == b'\n').count();
            self.meter.lines.fetch_add(lines as u64, Ordering::Relaxed);
        }
        self.meter.record_bytes.fetch_add(count, Ordering::Relaxed);
        self.input.consume(count);
    }
}

impl Read for Tracked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
