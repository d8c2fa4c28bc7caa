//! One file on its way here: what has come of it lies in `*.part`, is continued where it ended, and becomes the
//! file only after its hash was found right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::source::Body;
use super::{OnProgress, PullProgress};
use crate::error::{Error, Result};
use crate::folder::file_error;
use crate::hash::Sha256Hash;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 16;
/// Bytes between two reports.
const REPORT_BYTES: u64 = 1 << 20;

/// The file that is wanted.
pub struct Wanted<'a> {
    /// The folder that it goes to.
    pub folder: &'a Path,
    /// Its name there.
    pub name: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Its hash.
    pub sha256: Sha256Hash,
    /// Told of every megabyte; stops by breaking.
    pub progress: Option<&'a OnProgress<'a>>,
}

/// Why a file did not come.
pub enum Failure {
    /// The source is to blame; another may do.
    Source(String),
    /// We are, or whoever asked.
    Own(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl Wanted<'_> {
    /// Whether the file is here, with the right bytes.
    pub fn is_here(&self) -> bool {
        let found = File::open(self.folder.join(self.name)).and_then(Sha256Hash::of_reader);
        found.is_ok_and(|(hash, _)| hash == self.sha256)
    }

    /// Holds a file that a source has put in its place against its hash; a wrong one is removed.
    pub fn check(&self, path: &Path) -> Result<(), Failure> {
        let own = |e: io::Error| Failure::Own(file_error(self.name, &e));
        let Ok(file) = File::open(path) else {
            return Err(Failure::Source(format!("expected a file {}, found none", self.name)));
        };
        let (found, bytes) = Sha256Hash::of_reader(file).map_err(own)?;
        if found == self.sha256 {
            return Ok(());
        }
        fs::remove_file(path).map_err(own)?;
        Err(Failure::Source(self.differs(found, bytes)))
    }

    fn differs(&self, found: Sha256Hash, bytes: u64) -> String {
        format!(
            "{}: expected sha256 {} of {} bytes, found {found} of {bytes} bytes",
            self.name, self.sha256, self.bytes
        )
    }

    /// Takes the file from a source, which is asked for what is still missing. When a file that was continued
    /// turns out wrong, its beginning may have been another source's: it is taken once more as a whole.
    pub fn take(&self, open: impl Fn(u64) -> Result<Body, String>) -> Result<(), Failure> {
        let name = format!("{}.part", self.name);
        let path = self.folder.join(&name);
        let own = |e: io::Error| Failure::Own(file_error(&name, &e));
        loop {
            let mut part =
                OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(own)?;
            let mut here = part.seek(SeekFrom::End(0)).map_err(own)?;
            if here > self.bytes {
                part.set_len(0).map_err(own)?;
                here = 0;
            }
            let was_begun = here > 0;
            if here < self.bytes {
                self.receive(&mut part, here, &open)?;
            }
            part.sync_all().map_err(own)?;
            part.seek(SeekFrom::Start(0)).map_err(own)?;
            let (found, bytes) = Sha256Hash::of_reader(&part).map_err(own)?;
            if found == self.sha256 {
                return fs::rename(&path, self.folder.join(self.name)).map_err(own);
            }
            fs::remove_file(&path).map_err(own)?;
            if !was_begun {
                return Err(Failure::Source(self.differs(found, bytes)));
            }
        }
    }

    fn receive(
        &self,
        part: &mut File,
        mut here: u64,
        open: &impl Fn(u64) -> Result<Body, String>,
    ) -> Result<(), Failure> {
        let own = |e: io::Error| Failure::Own(file_error(self.name, &e));
        let body = open(here).map_err(Failure::Source)?;
        if body.offset != here {
            if body.offset != 0 {
                return Err(Failure::Source(format!(
                    "expected bytes from {here} or 0 on, found bytes from {} on",
                    body.offset
                )));
            }
            part.set_len(0).map_err(own)?;
            here = 0;
        }
        // One byte more than there should be is enough to know that there are too many.
        let mut reader = body.reader.take(self.bytes - here + 1);
        let mut buffer = vec![0; COPY_BYTES];
        let mut reported = here;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let stopped = format!("stopped after {here} of {} bytes: {e}", self.bytes);
                    return Err(Failure::Source(stopped));
                }
            };
            part.write_all(&buffer[..read]).map_err(own)?;
            here += read as u64;
            if here - reported >= REPORT_BYTES || here == self.bytes {
                self.report(here)?;
                reported = here;
            }
        }
        if here < self.bytes {
            let ended = format!("ended after {here} of {} bytes", self.bytes);
            return Err(Failure::Source(ended));
        }
        Ok(())
    }

    fn report(&self, bytes: u64) -> Result<()> {
        let progress = PullProgress { file: self.name, bytes, of: self.bytes };
        match self.progress.map(|tell| tell(progress)) {
            Some(ControlFlow::Break(())) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}
