//! Bytes that are no rows, as the weights of a model: objects beside a tenant's datasets, each under the digest of what it holds. A
//! row names them; no query selects them.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use super::Lake;
use crate::error::{Code, Error, Result};
use crate::identity::TenantId;

const FOLDER: &str = "_artifacts";

impl Lake {
    /// Keeps bytes, and says what they are called: the SHA-256 of them. What is kept already is not written again.
    pub(crate) async fn keep_artifact(&self, tenant: &TenantId, bytes: Bytes) -> Result<String> {
        self.require_writer()?;
        let name = digest(&bytes);
        let (store, path) = (self.root().store(), path(tenant, &name));
        let there = store.head(&path).await;
        if !there.is_ok_and(|there| there.size == bytes.len() as u64) {
            store.put(&path, bytes.into()).await?;
        }
        Ok(name)
    }

    /// What is kept under a name.
    pub(crate) async fn artifact(&self, tenant: &TenantId, name: &str) -> Result<Bytes> {
        let found = match self.root().store().get(&path(tenant, name)).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => {
                let says = format!("artifact {name}: it is no longer kept");
                return Err(Error::user(Code::NotFound, says));
            }
            Err(error) => return Err(error.into()),
        };
        if digest(&found) != name {
            let says = format!("artifact {name}: damaged, its bytes are not those that were kept");
            return Err(Error::user(Code::StorageUnavailable, says));
        }
        Ok(found)
    }
}

fn digest(bytes: &Bytes) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(tenant: &TenantId, name: &str) -> Path {
    Path::from_iter([tenant.as_str(), FOLDER, name])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::Code;
    use crate::storage::Root;
    use crate::storage::faulty::Faulty;
    use crate::tests::{options, who};
    use crate::{Engine, Principal, TenantId};

    use super::*;

    #[tokio::test]
    async fn bytes_are_kept_once_and_checked_when_they_are_read() {
        let store = Faulty::new();
        let engine =
            Engine::open_root(Root::over(store.clone()), options("memory:")).await.unwrap();
        let who = who();
        let name = engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap();
        assert_eq!(engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap(), name);
        assert_eq!(store.count("_artifacts").await, 1);
        let session = engine.session(&who, &[]).await.unwrap();
        assert_eq!(session.artifact(&name).await.unwrap(), Bytes::from_static(b"weights"));
        assert!(engine.catalog(&who).await.unwrap().datasets.is_empty(), "they are no dataset");
        let other = Principal { tenant: TenantId::new("other").unwrap(), ..who.clone() };
        let of_other = engine.session(&other, &[]).await.unwrap();
        assert_eq!(of_other.artifact(&name).await.unwrap_err().code(), Code::NotFound);
        store.put_text(&format!("default/_artifacts/{name}"), "something").await.unwrap();
        let damaged = session.artifact(&name).await.unwrap_err();
        assert!(damaged.to_string().contains("damaged"), "{damaged}");
        // Kept anew, since it is of another length.
        engine.keep_artifact(&who, Bytes::from_static(b"weights")).await.unwrap();
        assert_eq!(session.artifact(&name).await.unwrap(), Bytes::from_static(b"weights"));
        store.lose(&format!("default/_artifacts/{name}")).await.unwrap();
        let gone = session.artifact(&name).await.unwrap_err();
        assert!(gone.to_string().contains("no longer kept"), "{gone}");
    }
}
