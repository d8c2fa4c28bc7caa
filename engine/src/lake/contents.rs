//! Which files were loaded lately, by what they held.

use std::collections::HashSet;
use std::ops::Range;

use futures::StreamExt;

use super::Table;
use super::head::{COMMITS_REMEMBERED, ENTRIES_AT_A_TIME};
use super::log::LogEntry;
use crate::error::Result;
use crate::identity::Version;

impl Table {
    /// The version among these, up to the newest, that added the rows of a file with this content, if it is one of the last
    /// hundred and its files are as it made them: none of its rows was changed or taken out.
    pub(crate) async fn loaded_as(
        &self,
        content: &str,
        among: Range<u64>,
    ) -> Result<Option<Version>> {
        let oldest = among.end.saturating_sub(COMMITS_REMEMBERED).max(among.start);
        let versions = (oldest..among.end).rev();
        let read = |version| async move { (version, self.log.read_commit_entry(version).await) };
        let mut entries = futures::stream::iter(versions).map(read).buffered(ENTRIES_AT_A_TIME);
        let mut gone = HashSet::new();
        while let Some((version, bytes)) = entries.next().await {
            // The log before this was cleaned up, or can not be read: nothing is known of it.
            let Some(bytes) = bytes? else { break };
            let Ok(entry) = LogEntry::parse(version, &bytes) else { break };
            if entry.content().is_some_and(|of| of == content) {
                let is_gone = entry.added_paths.iter().any(|path| gone.contains(path));
                return Ok((!is_gone).then_some(Version(version)));
            }
            // What was put together is gone with the file that it became.
            let is_moved =
                entry.only_moves() && entry.added_paths.iter().any(|of| gone.contains(of));
            let removes = entry.removes.iter().filter(|remove| is_moved || remove.data_change);
            gone.extend(removes.map(|remove| remove.path.clone()));
        }
        Ok(None)
    }
}
