//! Which root it is: an id that lies at the root itself, so that what is kept elsewhere, and is of one root alone, can tell.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use uuid::Uuid;

use super::root::Root;
use crate::error::{Code, Error, Result};

/// The object that has it. No tenant's name begins so.
const NAME: &str = "_colonnade_root";
/// Letters and digits of an id, and what is read of the object.
const ID_BYTES: usize = 32;

impl Root {
    /// The root's id. Where it has none yet it gets one, if it `may_get` one.
    pub(crate) async fn id(&self, may_get: bool) -> Result<Option<String>> {
        let (store, path) = (self.store(), Path::from(NAME));
        if let Some(id) = read(store.as_ref(), &path).await? {
            return Ok(Some(id));
        }
        if !may_get {
            return Ok(None);
        }
        let id = Uuid::new_v4().simple().to_string();
        let payload = PutPayload::from(Bytes::from(id.clone()));
        match store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => Ok(Some(id)),
            // Another was first, or it was this one, whose answer was lost.
            Err(StoreError::AlreadyExists { .. }) => read(store.as_ref(), &path).await,
            Err(error) => Err(Error::from(error).while_doing("giving the root an id")),
        }
    }
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<String>> {
    let doing = |e: StoreError| Error::from(e).while_doing("reading the id of the root");
    let bytes = match store.get(path).await {
        Ok(found) => found.bytes().await.map_err(doing)?,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(doing(error)),
    };
    let id = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if id.len() != ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::user(
            Code::StorageUnavailable,
            format!(
                "the id of the root, in {NAME} at its top, is damaged: expected {ID_BYTES} hexadecimal digits; bring it back from a \
                 backup, or delete it, and with it what the control database that `control` names knows of the root"
            ),
        ));
    }
    Ok(Some(id.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::options::Access;

    #[tokio::test]
    async fn a_root_has_one_id_for_ever_and_another_root_has_another() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |folder: &tempfile::TempDir| {
            let path = folder.path().to_str().unwrap();
            Root::open(path, &BTreeMap::new(), &Access::Writer { holder: "a test".into() }).unwrap()
        };
        assert_eq!(open(&folders[0]).id(false).await.unwrap(), None);
        let ids = [open(&folders[0]), open(&folders[0])];
        let (one, other) = tokio::join!(ids[0].id(true), ids[1].id(true));
        let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
        assert_eq!(one, other);
        assert_eq!(open(&folders[0]).id(false).await.unwrap(), Some(one.clone()));
        assert_ne!(open(&folders[1]).id(true).await.unwrap(), Some(one));
        std::fs::write(folders[1].path().join(NAME), "a word").unwrap();
        let says = open(&folders[1]).id(true).await.unwrap_err().to_string();
        assert!(says.contains("expected 32 hexadecimal digits"), "{says}");
    }
}
