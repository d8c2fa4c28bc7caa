//! Who writes to a local root.
//!
//! Commits are safe without a lock: put-if-absent decides each. But two servers on one folder would each answer from what it
//! knows, and whoever mends a root must be alone. So there are two locks, both of the operating system, which can not outlive
//! their process: `.colonnade.lock` is the main writer's (a server's, or of whoever came while there was none), and
//! `.colonnade.writers.lock` is shared by all who write, and held by who mends for itself. What a process works at is marked by
//! a file that it holds locked, so that another can tell it from what a dead one left.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::options::Access;

/// The lock files' names. `object_store` must not see them as data; a leading dot is no tenant.
const MAIN_FILE: &str = ".colonnade.lock";
const WRITERS_FILE: &str = ".colonnade.writers.lock";
/// The folder of what is being worked at.
const MARKS_FOLDER: &str = ".colonnade.working";

/// The right to write, until released or dropped.
#[derive(Debug)]
pub(crate) struct WriterLock {
    held: Mutex<Held>,
    folder: PathBuf,
}

#[derive(Debug)]
struct Held {
    main: Option<File>,
    writers: Option<File>,
}

impl WriterLock {
    /// Takes the right to write below `root`, as `access` says; CONFLICT names who has it.
    pub(crate) fn take(root: &Path, access: &Access) -> Result<Option<Self>> {
        let (holder, is_alone) = match access {
            Access::ReadOnly => return Ok(None),
            Access::Writer { holder } | Access::Beside { holder } => (holder, false),
            Access::Alone { holder } => (holder, true),
        };
        let writers = open(root, WRITERS_FILE)?;
        let is_taken = match is_alone {
            true => FileExt::try_lock_exclusive(&writers),
            false => FileExt::try_lock_shared(&writers),
        };
        let mut main = open(root, MAIN_FILE)?;
        if !is_taken.map_err(failed("locking"))? {
            let says = match is_alone {
                true => format!(
                    "others write to this root ({}); end them first",
                    read_holder(&mut main)
                ),
                false => format!(
                    "this root is being mended, or a dataset of it renamed or purged ({}); try again when that has ended",
                    read_holder(&mut main)
                ),
            };
            return Err(Error::user(Code::Conflict, says));
        }
        let is_main = FileExt::try_lock_exclusive(&main).map_err(failed("locking"))?;
        if !is_main && !matches!(access, Access::Beside { .. }) {
            return Err(Error::user(
                Code::Conflict,
                format!("another writer holds this root: {}", read_holder(&mut main)),
            ));
        }
        if is_main {
            let text = format!("{holder} (process {})\n", std::process::id());
            main.set_len(0)
                .and_then(|()| main.rewind())
                .and_then(|()| main.write_all(text.as_bytes()))
                .and_then(|()| main.flush())
                .map_err(failed("writing its lock file"))?;
        }
        let held = Held { main: is_main.then_some(main), writers: Some(writers) };
        Ok(Some(Self { held: Mutex::new(held), folder: root.join(MARKS_FOLDER) }))
    }

    /// Marks that this process works at what is called `name`, until the mark is dropped.
    pub(crate) fn mark(&self, name: &str) -> Result<WorkMark> {
        std::fs::create_dir_all(&self.folder).map_err(failed("making a folder for marks"))?;
        let path = self.folder.join(name);
        let options = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        let file = options.map_err(failed("marking what is worked at"))?;
        FileExt::lock_exclusive(&file).map_err(failed("locking"))?;
        Ok(WorkMark { path, _file: file })
    }

    /// Whether some process, this one or another, works at what is called `name`.
    pub(crate) fn is_marked(&self, name: &str) -> bool {
        let path = self.folder.join(name);
        let Ok(file) = File::open(&path) else { return false };
        // One that a dead process left is nobody's.
        match FileExt::try_lock_shared(&file) {
            Ok(true) => {
                let _ = std::fs::remove_file(&path);
                false
            }
            Ok(false) | Err(_) => true,
        }
    }

    /// Gives up the right.
    pub(crate) fn release(&self) {
        let mut held = self.held.lock();
        if let Some(file) = held.main.take() {
            // Emptied first, so that no later reader is told of a holder that is gone.
            let _ = file.set_len(0);
            let _ = FileExt::unlock(&file);
        }
        if let Some(file) = held.writers.take() {
            let _ = FileExt::unlock(&file);
        }
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        self.release();
    }
}

/// Says that this process works at something.
#[derive(Debug)]
pub struct WorkMark {
    path: PathBuf,
    // Its lock ends with it.
    _file: File,
}

impl Drop for WorkMark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |e| {
        let says = format!("the root is not usable: {attempt} failed");
        Error::environment(Code::StorageUnavailable, says, e)
    }
}

fn open(root: &Path, name: &str) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(root.join(name))
        .map_err(failed("opening its lock file"))
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

    fn take(root: &Path, access: fn(String) -> Access, holder: &str) -> Result<WriterLock> {
        WriterLock::take(root, &access(holder.to_owned())).map(Option::unwrap)
    }

    fn main(holder: String) -> Access {
        Access::Writer { holder }
    }

    fn beside(holder: String) -> Access {
        Access::Beside { holder }
    }

    fn alone(holder: String) -> Access {
        Access::Alone { holder }
    }

    #[test]
    fn a_second_server_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let first = take(root, main, "serve on http://127.0.0.1:8642").unwrap();
        let refused = take(root, main, "serve").unwrap_err();
        assert_eq!(refused.code(), Code::Conflict);
        let expected = format!("serve on http://127.0.0.1:8642 (process {})", std::process::id());
        assert!(refused.to_string().ends_with(&expected), "{refused}");
        first.release();
        assert!(take(root, main, "serve").is_ok());
    }

    #[test]
    fn commands_write_beside_a_server_and_who_mends_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let server = take(root, main, "serve").unwrap();
        let (one, other) =
            (take(root, beside, "ingest").unwrap(), take(root, beside, "run").unwrap());
        let refused = take(root, alone, "doctor").unwrap_err();
        assert!(
            refused.to_string().starts_with("others write to this root (serve (process"),
            "{refused}"
        );
        drop(server);
        // The place of the main one is free, and taken by the next that comes.
        let late = take(root, beside, "ingest").unwrap();
        let refused = take(root, main, "serve").unwrap_err();
        assert!(
            refused.to_string().contains("another writer holds this root: ingest"),
            "{refused}"
        );
        drop((one, other, late));
        let mending = take(root, alone, "doctor").unwrap();
        for access in [main, beside, alone] {
            assert_eq!(take(root, access, "x").unwrap_err().code(), Code::Conflict);
        }
        let refused = take(root, beside, "ingest").unwrap_err();
        assert!(refused.to_string().contains("is being mended"), "{refused}");
        drop(mending);
        assert!(take(root, main, "serve").is_ok());
        assert!(WriterLock::take(root, &Access::ReadOnly).unwrap().is_none());
    }

    #[test]
    fn what_is_worked_at_is_told_from_what_a_dead_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let server = take(folder.path(), main, "serve").unwrap();
        let beside = take(folder.path(), beside, "run").unwrap();
        assert!(!server.is_marked("a"));
        let mark = beside.mark("a").unwrap();
        assert!(server.is_marked("a") && beside.is_marked("a") && !server.is_marked("b"));
        drop(mark);
        assert!(!server.is_marked("a"));
        // A file that nobody holds.
        let path = folder.path().join(MARKS_FOLDER).join("b");
        std::fs::write(&path, "").unwrap();
        assert!(!server.is_marked("b") && !path.exists());
    }
}
