//! Bytes on their way to whoever takes them: packed, counted, and watched for a reader that goes away.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::write::GzEncoder;

use crate::error::Result;

/// How hard zstd tries: at more it is many times slower for a few percent.
const ZSTD_LEVEL: i32 = 3;

/// How bytes are made fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    #[default]
    None,
    /// By gzip, which everybody reads.
    Gzip,
    /// By zstd, which is smaller and faster.
    Zstd,
}

impl Packing {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What is known of the writer at the end: whether somebody reads, and how many bytes it took.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    is_gone: AtomicBool,
    bytes: AtomicU64,
}

impl Watch {
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// A reader that went away ends the output without an error; libraries keep of its error the text alone.
    pub(super) fn outcome(&self, written: Result<()>) -> Result<ControlFlow<()>> {
        match written {
            _ if self.0.is_gone.load(Ordering::Relaxed) => Ok(ControlFlow::Break(())),
            written => written.map(ControlFlow::Continue),
        }
    }
}

/// Where everything is written in the end.
pub(super) struct Target {
    to: Box<dyn Write + Send>,
    watch: Watch,
}

impl Target {
    fn watched<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.watch.0.is_gone.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        let taken = self.watched(written)?;
        self.watch.0.bytes.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.watched(flushed)
    }
}

/// A writer that packs.
pub(super) enum Packed {
    Plain(Target),
    Gzip(GzEncoder<Target>),
    Zstd(zstd::Encoder<'static, Target>),
}

impl Packed {
    pub(super) fn new(
        to: Box<dyn Write + Send>,
        packing: Packing,
        watch: &Watch,
    ) -> io::Result<Self> {
        let to = Target { to, watch: watch.clone() };
        Ok(match packing {
            Packing::None => Self::Plain(to),
            Packing::Gzip => Self::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Packing::Zstd => Self::Zstd(zstd::Encoder::new(to, ZSTD_LEVEL)?),
        })
    }

    /// Writes what the packing still has, and its end.
    pub(super) fn finish(self) -> io::Result<()> {
        let mut to = match self {
            Self::Plain(to) => to,
            Self::Gzip(packer) => packer.finish()?,
            Self::Zstd(packer) => packer.finish()?,
        };
        to.flush()
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Gzip(packer) => packer.write(bytes),
            Self::Zstd(packer) => packer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Gzip(packer) => packer.flush(),
            Self::Zstd(packer) => packer.flush(),
        }
    }
}
