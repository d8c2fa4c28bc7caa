//! Who writes to a local root.
//!
//! Commits are safe without a lock: put-if-absent decides each, and any number of servers, workers and commands write at a time. Who
//! mends a root, or deletes what others may have open, must be alone. So `.colonnade.writers.lock` is shared by all who write, and
//! held by who is alone; it is a lock of the operating system, which can not outlive its process. What a process works at, and the
//! process itself, is marked by a file that it holds locked, so that another can tell it from what a dead one left.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::error::{Code, Error, Result};
use crate::options::Access;

/// The lock file's name. `object_store` must not see it as data; a leading dot is no tenant.
const WRITERS_FILE: &str = ".colonnade.writers.lock";
/// The folder of what is being worked at.
const MARKS_FOLDER: &str = ".colonnade.working";
/// What the marks of processes begin with; what each says is who it is.
const PROCESS: &str = "process-";
/// Others that are named to who must be alone.
const NAMED_MAX: usize = 3;
/// Bytes of what a process says of itself.
const HOLDER_BYTES_MAX: u64 = 400;

/// The right to write, until released or dropped.
#[derive(Debug)]
pub(crate) struct WriterLock {
    held: Mutex<Option<Held>>,
    folder: PathBuf,
}

#[derive(Debug)]
struct Held {
    writers: File,
    _process: WorkMark,
}

impl WriterLock {
    /// Takes the right to write below `root`, as `access` says; CONFLICT names who has it.
    pub(crate) fn take(root: &Path, access: &Access) -> Result<Option<Self>> {
        let (holder, is_alone) = match access {
            Access::ReadOnly => return Ok(None),
            Access::Writer { holder } => (holder, false),
            Access::Alone { holder } => (holder, true),
        };
        let writers = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(root.join(WRITERS_FILE))
            .map_err(failed("opening its lock file"))?;
        let is_taken = match is_alone {
            true => FileExt::try_lock_exclusive(&writers),
            false => FileExt::try_lock_shared(&writers),
        };
        let folder = root.join(MARKS_FOLDER);
        if !is_taken.map_err(failed("locking"))? {
            let others = others(&folder);
            let says = match is_alone {
                true => format!("others write to this root ({others}); end them first"),
                false => format!(
                    "this root is being mended, or a dataset of it renamed or purged ({others}); try again when that has ended"
                ),
            };
            return Err(Error::user(Code::Conflict, says));
        }
        let name = format!("{PROCESS}{}", Uuid::now_v7().simple());
        let says = format!("{holder} (process {})", std::process::id());
        let held = Held { writers, _process: WorkMark::make(&folder, &name, &says)? };
        Ok(Some(Self { held: Mutex::new(Some(held)), folder }))
    }

    /// Marks that this process works at what is called `name`, until the mark is dropped.
    pub(crate) fn mark(&self, name: &str) -> Result<WorkMark> {
        WorkMark::make(&self.folder, name, "")
    }

    /// Gives up the right.
    pub(crate) fn release(&self) {
        if let Some(held) = self.held.lock().take() {
            let _ = FileExt::unlock(&held.writers);
        }
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        self.release();
    }
}

/// Whether some process, this one or another, works below `root` at what is called `name`.
pub(crate) fn is_marked(root: &Path, name: &str) -> bool {
    let path = root.join(MARKS_FOLDER).join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
        // Who can not look, as where no descriptor is left, takes nobody for dead.
        Err(_) => return true,
    };
    let is_held = is_held(&file);
    if !is_held {
        // One that a dead process left is nobody's.
        let _ = fs::remove_file(&path);
    }
    is_held
}

fn is_held(file: &File) -> bool {
    !matches!(FileExt::try_lock_shared(file), Ok(true))
}

/// Says that this process works at something.
#[derive(Debug)]
pub struct WorkMark {
    path: PathBuf,
    // Its lock ends with it.
    _file: File,
}

impl WorkMark {
    fn make(folder: &Path, name: &str, says: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(failed("making a folder for marks"))?;
        let path = folder.join(name);
        let options = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        let mut file = options.map_err(failed("marking what is worked at"))?;
        FileExt::lock_exclusive(&file).map_err(failed("locking"))?;
        // Behind the lock: what says something and is not locked is of a dead process.
        file.write_all(says.as_bytes()).map_err(failed("marking what is worked at"))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for WorkMark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(attempt: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |e| {
        let says = format!("the root is not usable: {attempt} failed");
        Error::environment(Code::StorageUnavailable, says, e)
    }
}

/// The processes that write, as they call themselves, the first that came before the others.
fn others(folder: &Path) -> String {
    let mut marks: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PROCESS))
        .map(|entry| entry.path())
        .collect();
    marks.sort();
    let mut found = Vec::new();
    for path in marks {
        let Ok(file) = File::open(&path) else { continue };
        let mut says = String::new();
        let read = (&file).take(HOLDER_BYTES_MAX).read_to_string(&mut says);
        // Looked at behind what it says, which it says once it is held. One that says nothing yet is just being made.
        let is_held = is_held(&file);
        match read {
            Ok(1..) if is_held => found.push(says.trim().to_owned()),
            Ok(1..) => drop(fs::remove_file(&path)),
            _ => {}
        }
    }
    match found.len() {
        0 => "it has not said who it is".to_owned(),
        count if count > NAMED_MAX => {
            format!("{} and {} more", found[..NAMED_MAX].join(", "), count - NAMED_MAX)
        }
        _ => found.join(", "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn take(root: &Path, access: fn(String) -> Access, holder: &str) -> Result<WriterLock> {
        WriterLock::take(root, &access(holder.to_owned())).map(Option::unwrap)
    }

    fn writer(holder: String) -> Access {
        Access::Writer { holder }
    }

    fn alone(holder: String) -> Access {
        Access::Alone { holder }
    }

    #[test]
    fn any_number_write_and_who_mends_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let names = ["serve on a", "serve on b", "worker", "ingest"];
        let mut writers: Vec<_> =
            names.iter().map(|name| take(root, writer, name).unwrap()).collect();
        let refused = take(root, alone, "doctor").unwrap_err();
        assert_eq!(refused.code(), Code::Conflict);
        let own = std::process::id();
        let expected = format!(
            "others write to this root (serve on a (process {own}), serve on b (process {own}), worker (process {own}) and 1 more); \
             end them first"
        );
        assert_eq!(refused.to_string(), expected);
        writers.truncate(1);
        let refused = take(root, alone, "doctor").unwrap_err().to_string();
        assert!(refused.contains(&format!("root (serve on a (process {own}));")), "{refused}");
        writers[0].release();
        let mending = take(root, alone, "doctor").unwrap();
        for access in [writer, alone] {
            assert_eq!(take(root, access, "x").unwrap_err().code(), Code::Conflict);
        }
        let refused = take(root, writer, "ingest").unwrap_err().to_string();
        assert!(
            refused.contains("is being mended") && refused.contains("(doctor (pr"),
            "{refused}"
        );
        drop(mending);
        assert!(take(root, writer, "serve").is_ok());
        assert!(WriterLock::take(root, &Access::ReadOnly).unwrap().is_none());
    }

    #[test]
    fn a_dead_process_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let living = take(folder.path(), writer, "serve").unwrap();
        let marks = folder.path().join(MARKS_FOLDER);
        let dead = marks.join(format!("{PROCESS}0"));
        fs::write(&dead, "a dead one").unwrap();
        let refused = take(folder.path(), alone, "doctor").unwrap_err().to_string();
        assert!(refused.contains("serve (process") && !refused.contains("dead"), "{refused}");
        assert!(!dead.exists());
        drop(living);
        assert_eq!(fs::read_dir(marks).unwrap().count(), 0);
    }

    #[test]
    fn what_is_worked_at_is_told_from_what_a_dead_process_left() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let one = take(root, writer, "serve").unwrap();
        let is_marked = |name| is_marked(root, name);
        assert!(!is_marked("a"));
        let mark = one.mark("a").unwrap();
        assert!(is_marked("a") && !is_marked("b"));
        drop(mark);
        assert!(!is_marked("a"));
        // A file that nobody holds.
        let path = root.join(MARKS_FOLDER).join("b");
        fs::write(&path, "").unwrap();
        assert!(!is_marked("b") && !path.exists());
    }
}
