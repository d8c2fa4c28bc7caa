//! Marks of what the control state of a root once held, as objects at the top of the root. Control state is stored elsewhere,
//! in a database that can be lost or replaced. The marks stay with the data.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutPayload};

use super::root::Root;
use crate::error::{Error, Result};

/// What the control state has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootMark {
    /// API keys and their grants.
    Keys,
    /// The end of the audit chain.
    Audit,
}

impl RootMark {
    /// All marks.
    pub const ALL: [Self; 2] = [Self::Keys, Self::Audit];

    /// The object of the mark. Tenant names cannot begin like this.
    fn object(self) -> Path {
        Path::from(match self {
            Self::Keys => "_colonnade_had_keys",
            Self::Audit => "_colonnade_had_audit",
        })
    }
}

impl Root {
    pub(crate) async fn has_mark(&self, mark: RootMark) -> Result<bool> {
        match self.store().head(&mark.object()).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::from(error).while_doing("reading a mark of the root")),
        }
    }

    pub(crate) async fn set_mark(&self, mark: RootMark) -> Result<()> {
        let payload = PutPayload::from(Bytes::from_static(b"1\n"));
        match self.store().put_opts(&mark.object(), payload, PutMode::Create.into()).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(Error::from(error).while_doing("setting a mark of the root")),
        }
    }

    pub(crate) async fn clear_mark(&self, mark: RootMark) -> Result<()> {
        match self.store().delete(&mark.object()).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::from(error).while_doing("removing a mark of the root")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::storage::faulty::Faulty;

    #[tokio::test]
    async fn a_mark_stays_until_it_is_cleared() {
        let root = Root::over(Faulty::new() as _);
        for mark in RootMark::ALL {
            assert!(!root.has_mark(mark).await.unwrap());
            root.set_mark(mark).await.unwrap();
            root.set_mark(mark).await.unwrap();
            assert!(root.has_mark(mark).await.unwrap());
        }
        root.clear_mark(RootMark::Keys).await.unwrap();
        root.clear_mark(RootMark::Keys).await.unwrap();
        assert!(!root.has_mark(RootMark::Keys).await.unwrap());
        assert!(root.has_mark(RootMark::Audit).await.unwrap());
    }
}
