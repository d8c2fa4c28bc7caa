//! One writer per local root.
//!
//! Commits are safe without it (put-if-absent decides), but two servers on one folder would each cache
//! a catalogue that the other changes, and their group commits would race without end. The lock is the
//! operating system's, so that it can't outlive its process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use fs4::fs_std::FileExt;
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};

/// The lock file's name. `object_store` must not see it as data; a leading dot is no tenant.
const LOCK_FILE: &str = ".colonnade.lock";

/// The right to write, until released or dropped.
#[derive(Debug)]
pub(crate) struct WriterLock(Mutex<Option<File>>);

impl WriterLock {
    /// Takes the right to write below `root`; CONFLICT names who has it.
    pub(crate) fn take(root: &Path, holder: &str) -> Result<Self> {
        let failed = |attempt: &'static str| {
            move |e: std::io::Error| {
                Error::environment(
                    Code::StorageUnavailable,
                    format!("the root is not usable: {attempt} failed"),
                    e,
                )
            }
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(root.join(LOCK_FILE))
            .map_err(failed("opening its lock file"))?;
        if !FileExt::try_lock_exclusive(&file).map_err(failed("locking"))? {
            return Err(Error::user(
                Code::Conflict,
                format!("another writer holds this root: {}", read_holder(&mut file)),
            ));
        }
        let text = format!("{holder} (process {})\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.flush())
            .map_err(failed("writing its lock file"))?;
        Ok(Self(Mutex::new(Some(file))))
    }

    /// Gives up the right.
    pub(crate) fn release(&self) {
        if let Some(file) = self.0.lock().take() {
            // Emptied first, so that no later reader is told of a holder that is gone.
            let _ = file.set_len(0);
            let _ = FileExt::unlock(&file);
        }
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        self.release();
    }
}

/// What the holder wrote of itself; it may be about to.
fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(400).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "it has not said who it is".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let root = tempfile::tempdir().unwrap();
        let first = WriterLock::take(root.path(), "serve on http://127.0.0.1:8642").unwrap();
        let refused = WriterLock::take(root.path(), "ingest").unwrap_err();
        assert_eq!(refused.code(), Code::Conflict);
        let expected = format!("serve on http://127.0.0.1:8642 (process {})", std::process::id());
        assert!(refused.to_string().ends_with(&expected), "{refused}");
        first.release();
        assert!(WriterLock::take(root.path(), "ingest").is_ok());
    }
}
