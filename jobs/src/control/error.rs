//! What goes wrong with the control database, in words for who runs it.

/// Why control state could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It can not be reached now; a later try may succeed.
    #[error("the control database can not be reached: {0}")]
    Unavailable(String),
    /// The file is no database, or a damaged one.
    #[error(
        "the control database is damaged ({0}); move its file {1} away, with those of its name that end in -wal and -shm, or put a copy of \
         before in its place: runs that ended are read from the dataset runs again; those that waited and the schedules are lost"
    )]
    Damaged(String, String),
    /// It was made by a later release.
    #[error(
        "the control database has version {found} of its tables, and this release knows versions up to {known}: a later release wrote it. \
         Start that release or a later one again, or put a copy of the database from before the upgrade in its place"
    )]
    TooNew {
        /// The release that was found.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// A setting that names no database.
    #[error("control database {0:?}: expected sqlite:FILE or postgres://USER@HOST/DATABASE, {1}")]
    Setting(String, String),
    /// A statement that should have worked did not.
    #[error("the control database refused a statement: {0}")]
    Refused(String),
}
