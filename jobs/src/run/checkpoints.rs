//! The folders of checkpoints.

use std::path::PathBuf;

use super::context::RunContext;

impl RunContext {
    /// A folder for checkpoints, the same in every run of the same work, so that one that was killed goes on; none,
    /// where there is no place for models.
    pub fn checkpoints(&self) -> Option<PathBuf> {
        // What is done again is done from the beginning.
        if self.beside.as_it_was.is_some() {
            return None;
        }
        let name = format!("{}-{}", self.principal.tenant, self.key);
        Some(self.embedders.checkpoints()?.join(name))
    }

    /// Removes that folder: the work is committed.
    pub(crate) fn clear_checkpoints(&self) {
        let Some(folder) = self.checkpoints().filter(|folder| folder.exists()) else { return };
        if let Err(error) = std::fs::remove_dir_all(folder) {
            tracing::warn!(run = %self.run_id, %error, "checkpoints of a finished run can't be removed");
        }
    }
}
