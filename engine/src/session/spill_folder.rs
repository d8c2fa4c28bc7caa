//! A folder for the spill files of one process. A process that is killed, or that ends while a query
//! spills, leaves its folder behind, and the next one removes it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use fs4::fs_std::FileExt;
use tempfile::{Builder, NamedTempFile, TempDir};

const PREFIX: &str = "colonnade-spill-";
/// A file that is locked as long as the process lives.
const LOCK: &str = "lock";

/// The folder. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SpillFolder {
    folder: TempDir,
    _lock: File,
}

impl SpillFolder {
    /// A new folder in `parent`, from which the folders of processes that ended are removed.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        remove_abandoned(parent);
        let folder = Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // Locked before it has the name that others look for.
        let lock = NamedTempFile::new_in(folder.path())?;
        lock.as_file().lock_exclusive()?;
        let lock = lock.persist(folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Some(lock) = own_file(&entry.path().join(LOCK)) else { continue };
        if lock.try_lock_exclusive().unwrap_or(false)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            let path = entry.path();
            tracing::warn!(?path, %error, "cannot remove the spill files of a process that ended");
        }
    }
}

/// Opens a regular file of this user. Others may put anything into a folder that all share.
fn own_file(path: &Path) -> Option<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(flags.bits() as i32);
    }
    let file = options.open(path).ok()?;
    let metadata = file.metadata().ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return None;
        }
    }
    metadata.is_file().then_some(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_of_processes_that_ended_are_removed_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let running = SpillFolder::create(parent.path()).unwrap();
        fs::write(running.path().join("rows"), "rows").unwrap();
        // What a killed process leaves: a lock that nobody holds.
        let left = parent.path().join("colonnade-spill-killed");
        fs::create_dir_all(left.join("datafusion-1")).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        fs::write(left.join("datafusion-1/rows"), "rows").unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        // Opening a pipe would wait for a writer.
        let foreign = parent.path().join("colonnade-spill-foreign");
        fs::create_dir(&foreign).unwrap();
        let made = std::process::Command::new("mkfifo").arg(foreign.join(LOCK)).status().unwrap();
        assert!(made.success());

        let next = SpillFolder::create(parent.path()).unwrap();
        assert!(running.path().join("rows").exists() && other.exists() && foreign.exists());
        assert!(!left.exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
