//! Where bytes come from: a file or an upload's body, gzip seen through, read once and in order.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;

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

    /// An environment error of this source.
    pub(crate) fn io(&self, action: &'static str, error: std::io::Error) -> Error {
        Error::Io { source_name: self.name().into(), action, error }
    }
}
