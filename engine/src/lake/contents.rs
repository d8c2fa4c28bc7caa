//! Which files were loaded lately, by what they held.

use futures::StreamExt;

use super::Table;
use super::head::{COMMITS_REMEMBERED, ENTRIES_AT_A_TIME};
use super::log::LogEntry;
use crate::error::Result;
use crate::identity::Version;

impl Table {
    /// The version that added the rows of a file with this content, if it is one of the newest and no rows were taken out since.
    pub(crate) async fn loaded_as(&self, content: &str) -> Result<Option<Version>> {
        let end = self.head().await.version().0 + 1;
        let versions = (end.saturating_sub(COMMITS_REMEMBERED)..end).rev();
        let read = |version| async move { (version, self.log.read_commit_entry(version).await) };
        let mut entries = futures::stream::iter(versions).map(read).buffered(ENTRIES_AT_A_TIME);
        while let Some((version, bytes)) = entries.next().await {
            // The log before this was cleaned up, or can not be read: nothing is known of it.
            let Some(bytes) = bytes? else { break };
            let Ok(entry) = LogEntry::parse(version, &bytes) else { break };
            if entry.removes.iter().any(|remove| remove.data_change) {
                break;
            }
            if entry.content().is_some_and(|of| of == content) {
                return Ok(Some(Version(version)));
            }
        }
        Ok(None)
    }
}
