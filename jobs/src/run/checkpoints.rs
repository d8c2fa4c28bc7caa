//! The folders of checkpoints.

use std::path::PathBuf;

use super::context::RunContext;

impl RunContext {
    /// The folder for checkpoints. Every run of the same work has the same folder, so that it can resume after a kill. `None`
    /// if there is no folder for models.
    pub fn checkpoints(&self) -> Option<PathBuf> {
        // A `rerun --as-it-was` starts from the beginning.
        if self.beside.as_it_was.is_some() {
            return None;
        }
        let name = format!("{}-{}", self.principal.tenant, self.key);
        Some(self.embedders.checkpoints()?.join(name))
    }

    /// Removes the folder, because the work is committed.
    pub(crate) fn clear_checkpoints(&self) {
        let Some(folder) = self.checkpoints().filter(|folder| folder.exists()) else { return };
        if let Err(error) = std::fs::remove_dir_all(folder) {
            tracing::warn!(run = %self.run_id, %error, "checkpoints of a finished run can't be removed");
        }
    }
}
