//! The statements of API keys.

use futures::future::BoxFuture;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Transaction, query};

use super::SqlStore;
use crate::control::{KeyAdded, KeyEntry, KeyRoom, KeyStore, Result};

/// A statement that gives whole keys.
macro_rules! keys {
    ($rest:literal) => {
        query(concat!(
            "SELECT prefix, secret_sha256, tenant, subject, roles, grants, created_at, created_by, expires_at, used_at, revoked_at, \
             revoked_by FROM api_keys ",
            $rest
        ))
    };
}

impl SqlStore {
    /// Counts a change. Who has the number has the next ones to itself until its transaction ends.
    async fn next_key_change(&self, tx: &mut Transaction<'static, Any>) -> Result<()> {
        let next = query("UPDATE counters SET value = value + 1 WHERE name = 'keys'");
        self.run(next, tx).await.map(drop)
    }

    async fn add(&self, key: &KeyEntry, room: KeyRoom) -> Result<KeyAdded> {
        let mut tx = self.begin().await?;
        self.next_key_change(&mut tx).await?;
        let live = query(
            "SELECT COUNT(*) AS n, COALESCE(SUM(CASE WHEN tenant = $2 THEN 1 ELSE 0 END), 0) AS of_tenant FROM api_keys \
             WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)",
        );
        let live = live.bind(key.created_us).bind(key.tenant.clone());
        let row = live.fetch_one(&mut *tx).await.map_err(|e| self.failed(e))?;
        let (all, of_tenant): (i64, i64) = (self.get(&row, "n")?, self.get(&row, "of_tenant")?);
        if of_tenant >= room.of_tenant_max {
            return Ok(KeyAdded::Full { live: of_tenant, of_tenant: true });
        }
        if all >= room.all_max {
            return Ok(KeyAdded::Full { live: all, of_tenant: false });
        }
        let gone = query(
            "DELETE FROM api_keys WHERE tenant = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2) AND prefix NOT IN \
             (SELECT prefix FROM api_keys WHERE tenant = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2) \
             ORDER BY created_at DESC, prefix LIMIT $3)",
        );
        let gone = gone.bind(key.tenant.clone()).bind(key.created_us).bind(room.ended_max);
        self.run(gone, &mut tx).await?;
        let added = query(
            "INSERT INTO api_keys (prefix, secret_sha256, tenant, subject, roles, grants, created_at, created_by, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        );
        let added = added
            .bind(key.prefix.clone())
            .bind(key.secret_sha256.clone())
            .bind(key.tenant.clone())
            .bind(key.subject.clone())
            .bind(key.roles.clone())
            .bind(key.grants.clone())
            .bind(key.created_us)
            .bind(key.created_by.clone())
            .bind(key.expires_us);
        if self.run(added, &mut tx).await? == 0 {
            return Ok(KeyAdded::Taken);
        }
        self.commit(tx).await?;
        Ok(KeyAdded::Added)
    }

    async fn revoke(
        &self,
        tenant: &str,
        prefix: &str,
        now_us: i64,
        by: &str,
    ) -> Result<Option<KeyEntry>> {
        let mut tx = self.begin().await?;
        self.next_key_change(&mut tx).await?;
        let revoked = query(
            "UPDATE api_keys SET revoked_at = $3, revoked_by = $4 WHERE tenant = $1 AND prefix = $2 AND revoked_at IS NULL",
        );
        let revoked = revoked.bind(tenant.to_owned()).bind(prefix.to_owned()).bind(now_us);
        self.run(revoked.bind(by.to_owned()), &mut tx).await?;
        let found = keys!("WHERE tenant = $1 AND prefix = $2");
        let found = found.bind(tenant.to_owned()).bind(prefix.to_owned());
        let found = found.fetch_optional(&mut *tx).await.map_err(|e| self.failed(e))?;
        let found = found.map(|row| self.key(&row)).transpose()?;
        // Where there is none, nothing changed, and nobody need look.
        if found.is_some() {
            self.commit(tx).await?;
        }
        Ok(found)
    }

    async fn all_keys(&self, keys: Query<'_, Any, AnyArguments>) -> Result<Vec<KeyEntry>> {
        let rows = keys.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
        rows.iter().map(|row| self.key(row)).collect()
    }

    fn key(&self, row: &AnyRow) -> Result<KeyEntry> {
        Ok(KeyEntry {
            prefix: self.get(row, "prefix")?,
            secret_sha256: self.get(row, "secret_sha256")?,
            tenant: self.get(row, "tenant")?,
            subject: self.get(row, "subject")?,
            roles: self.get(row, "roles")?,
            grants: self.get(row, "grants")?,
            created_us: self.get(row, "created_at")?,
            created_by: self.get(row, "created_by")?,
            expires_us: self.get(row, "expires_at")?,
            used_us: self.get(row, "used_at")?,
            revoked_us: self.get(row, "revoked_at")?,
            revoked_by: self.get(row, "revoked_by")?,
        })
    }

    async fn used(&self, used: &[(String, i64)]) -> Result<()> {
        let mut tx = self.begin().await?;
        for (prefix, at_us) in used {
            let said = query(
                "UPDATE api_keys SET used_at = $2 WHERE prefix = $1 AND (used_at IS NULL OR used_at < $2)",
            );
            self.run(said.bind(prefix.clone()).bind(*at_us), &mut tx).await?;
        }
        self.commit(tx).await
    }
}

impl KeyStore for SqlStore {
    fn add_key<'a>(&'a self, key: &'a KeyEntry, room: KeyRoom) -> BoxFuture<'a, Result<KeyAdded>> {
        self.in_time(self.add(key, room))
    }

    fn keys<'a>(&'a self, tenant: &'a str, limit: i64) -> BoxFuture<'a, Result<Vec<KeyEntry>>> {
        let all = keys!("WHERE tenant = $1 ORDER BY created_at DESC, prefix LIMIT $2");
        self.in_time(self.all_keys(all.bind(tenant.to_owned()).bind(limit)))
    }

    fn revoke_key<'a>(
        &'a self,
        tenant: &'a str,
        prefix: &'a str,
        now_us: i64,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeyEntry>>> {
        self.in_time(self.revoke(tenant, prefix, now_us, by))
    }

    fn live_keys(&self, now_us: i64, limit: i64) -> BoxFuture<'_, Result<Vec<KeyEntry>>> {
        let live = keys!(
            "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1) ORDER BY created_at, prefix LIMIT $2"
        );
        self.in_time(self.all_keys(live.bind(now_us).bind(limit)))
    }

    fn keys_change(&self) -> BoxFuture<'_, Result<i64>> {
        self.in_time(self.counter("keys"))
    }

    fn keys_used<'a>(&'a self, used: &'a [(String, i64)]) -> BoxFuture<'a, Result<()>> {
        self.in_time(self.used(used))
    }
}
