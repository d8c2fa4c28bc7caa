//! Exports in a place of the root's own, beside the datasets of their tenant: there they are taken from, and go when their time is over.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::BoxStream;
use uuid::Uuid;

use super::files::{MANIFEST, media_type};
use super::manifest::{File, Manifest, verify};
use super::request::ExportPlace;
use crate::derived::AUDIT;
use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::export::{Tallied, Tally};
use crate::grants::Grants;
use crate::identity::{Principal, Role, TenantId};
use crate::storage::Target;

/// Where they lie below their tenant. No dataset is called so.
const FOLDER: &str = "_exports";
/// What was begun and is not whole goes when nothing of it was written for so long.
const BEGUN_MAX: TimeDelta = TimeDelta::days(2);

/// A file that can be taken.
#[derive(Clone)]
pub struct ExportedFile {
    /// What the manifest says of it.
    pub file: File,
    target: Target,
}

/// What went since its time was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptExports {
    /// How many exports.
    pub exports: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The place of one.
pub(super) fn target(engine: &Engine, tenant: &TenantId, id: &str) -> Result<Target> {
    // Ids come from outside, and become a path.
    let id: Uuid = id.parse().map_err(|_| unknown(id))?;
    Ok(Target::of_root(engine.lake().root(), [tenant.as_str(), FOLDER, &id.to_string()]))
}

fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    Error::user(Code::NotFound, format!("export {shown:?}: there is none, or it is no more"))
}

/// What a try of the same run before made whole.
pub(super) async fn made_before(
    target: &Target,
    to: &ExportPlace,
    run: Option<&str>,
) -> Result<Option<Manifest>> {
    let (ExportPlace::Own { .. }, Some(run)) = (to, run) else {
        return Ok(None);
    };
    let whole = Manifest::of(target).await?;
    Ok(whole.filter(|whole| whole.run_id.as_deref() == Some(run)))
}

/// Bytes that the tenant has room for, beside its other exports. Fails where there is none.
pub(super) async fn room(
    engine: &Engine,
    who: &Principal,
    id: &str,
    bytes_max: u64,
) -> Result<u64> {
    let all = Target::of_root(engine.lake().root(), [who.tenant.as_str(), FOLDER]);
    let own = format!("{id}/");
    let there = all.list().await?;
    let others = there.iter().filter(|(name, _)| !name.starts_with(&own));
    let bytes = others.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    if bytes < bytes_max {
        return Ok(bytes_max - bytes);
    }
    let says = format!(
        "the exports of tenant {} take {bytes} bytes, and {bytes_max} are what they may take; expected one that is deleted first",
        who.tenant
    );
    Err(Error::user(Code::LimitExceeded, says))
}

async fn manifest(engine: &Engine, tenant: &TenantId, id: &str) -> Result<(Target, Manifest)> {
    let target = target(engine, tenant, id)?;
    let manifest = Manifest::of(&target).await?.ok_or_else(|| unknown(id))?;
    match manifest.is_over(Utc::now()) {
        true => Err(unknown(id)),
        false => Ok((target, manifest)),
    }
}

/// Whether `who` may have what is in it: it was made for whoever sees the same, or `who` sees all that could be in it.
fn shows(manifest: &Manifest, who: &Principal) -> bool {
    let (sees, as_run) = (who.sees(), who.grants.without_audit());
    let has_audit = manifest.datasets.iter().any(|read| read.dataset.as_str() == AUDIT);
    let is_admin = who.roles.contains(&Role::Admin);
    let is_same = |grants: &Grants| manifest.sees.as_deref() == Some(grants.digest());
    is_same(&sees) || is_same(&as_run) || (sees.is_all() && (is_admin || !has_audit))
}

impl Engine {
    /// What an export holds that is whole and whose time is not over. NOT_FOUND also where something is in it that `who` may not see.
    pub async fn exported(&self, who: &Principal, id: &str) -> Result<Manifest> {
        who.require_in_part(Role::Reader)?;
        let (_, manifest) = manifest(self, &who.tenant, id).await?;
        match shows(&manifest, who) {
            true => Ok(manifest),
            false => Err(unknown(id)),
        }
    }

    /// The same, once every byte was held against it.
    pub async fn verify_exported(&self, who: &Principal, id: &str) -> Result<Manifest> {
        self.exported(who, id).await?;
        verify(&target(self, &who.tenant, id)?, id).await
    }

    /// A file of an export, for somebody who was told by [`Engine::exported`] that it is there.
    pub async fn exported_file(
        &self,
        tenant: &TenantId,
        id: &str,
        name: &str,
    ) -> Result<ExportedFile> {
        let (target, manifest) = manifest(self, tenant, id).await?;
        let named = manifest.files.into_iter().find(|file| file.name == name);
        let file = match named {
            Some(file) => file,
            None if name == MANIFEST => as_file(&target).await?.ok_or_else(|| unknown(id))?,
            None => return Err(unknown(&format!("{id}/{name}"))),
        };
        Ok(ExportedFile { file, target })
    }

    /// Removes an export, whole or not; whether there was one. Who sees all of the tenant may, and whoever had it made that sees the same
    /// now.
    pub async fn remove_export(&self, who: &Principal, id: &str) -> Result<bool> {
        who.require_in_part(Role::Reader)?;
        let target = target(self, &who.tenant, id)?;
        if !who.sees().is_all() {
            let Some(manifest) = Manifest::of(&target).await? else { return Err(unknown(id)) };
            if manifest.requested_by != who.subject || !shows(&manifest, who) {
                return Err(unknown(id));
            }
        }
        Ok(remove(&target).await?.is_some())
    }

    /// Removes the exports of all tenants whose time is over, and what is left of those that never became whole.
    pub async fn sweep_exports(&self, now: DateTime<Utc>) -> Result<SweptExports> {
        let mut swept = SweptExports::default();
        let root = Target::of_root(self.lake().root(), []);
        for tenant in root.folders().await? {
            let Ok(tenant) = TenantId::new(&tenant) else { continue };
            let all = Target::of_root(self.lake().root(), [tenant.as_str(), FOLDER]);
            for id in all.folders().await? {
                let Ok(target) = target(self, &tenant, &id) else { continue };
                match swept_one(&target, now).await {
                    Ok(None) => {}
                    Ok(Some(bytes)) => {
                        swept.exports += 1;
                        swept.bytes += bytes;
                        tracing::info!(%tenant, %id, bytes, "an export's time is over");
                    }
                    // Others go all the same.
                    Err(error) => {
                        let detail = error.detail();
                        tracing::warn!(%tenant, %id, detail, "an export can not be looked at");
                    }
                }
            }
        }
        Ok(swept)
    }
}

/// Removes one whose time is over; its bytes, where it was.
async fn swept_one(target: &Target, now: DateTime<Utc>) -> Result<Option<u64>> {
    let is_over = match Manifest::of(target).await? {
        Some(manifest) => manifest.is_over(now),
        None => target.newest().await?.is_none_or(|newest| newest < now - BEGUN_MAX),
    };
    if is_over { remove(target).await } else { Ok(None) }
}

/// The manifest itself, which can not say of itself what it is.
async fn as_file(target: &Target) -> Result<Option<File>> {
    let Some(bytes) = target.get(MANIFEST).await? else { return Ok(None) };
    let (tally, mut writer) = Tally::over(std::io::sink());
    // A sink takes everything.
    let _ = std::io::Write::write_all(&mut writer, &bytes);
    let Tallied { bytes, sha256 } = tally.tallied();
    Ok(Some(File { name: MANIFEST.to_owned(), rows: 0, bytes, sha256 }))
}

/// Removes all files, first what says that it is whole; their bytes, where there were some.
async fn remove(target: &Target) -> Result<Option<u64>> {
    let there = target.list().await?;
    target.remove(MANIFEST).await?;
    for name in there.keys() {
        target.remove(name).await?;
    }
    target.remove_folder().await;
    Ok((!there.is_empty()).then(|| there.values().sum()))
}

impl ExportedFile {
    /// What it is to a client.
    pub fn media_type(&self) -> &'static str {
        media_type(&self.file.name)
    }

    /// Its bytes, or some of them.
    pub async fn bytes(&self, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let found = self.target.stream(&self.file.name, range).await?;
        found.ok_or_else(|| unknown(&self.file.name))
    }
}

impl std::fmt::Debug for ExportedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportedFile").field("file", &self.file).finish_non_exhaustive()
    }
}
