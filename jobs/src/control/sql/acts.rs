//! The statements of acts and their chains.

use futures::future::BoxFuture;
use sqlx::any::AnyRow;
use sqlx::query;

use super::SqlStore;
use crate::audit::hash_of;
use crate::control::{ActHead, ActRow, ActStore, BegunAct, Result};

impl SqlStore {
    async fn end(&self, tenant: &str, id: &str, content: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        // Who has the number has the chain to itself until its transaction ends.
        let next = query(
            "UPDATE act_chains SET number = number + 1 WHERE tenant = $1 RETURNING number, hash",
        );
        let next = next.bind(tenant.to_owned()).fetch_optional(&mut *tx).await;
        let Some(row) = next.map_err(|e| self.failed(e))? else { return Ok(false) };
        // One that ended has its row: another saw its process gone, or an answer got lost.
        let ended = query("DELETE FROM acts_begun WHERE id = $1 AND tenant = $2");
        let ended = ended.bind(id.to_owned()).bind(tenant.to_owned());
        if self.run(ended, &mut tx).await? == 0 {
            return Ok(true);
        }
        let (number, previous): (i64, String) =
            (self.get(&row, "number")?, self.get(&row, "hash")?);
        let hash = hash_of(&previous, number, content);
        let added = query(
            "INSERT INTO acts (tenant, number, previous_hash, hash, content) VALUES ($1, $2, $3, $4, $5)",
        );
        let added = added.bind(tenant.to_owned()).bind(number).bind(previous).bind(hash.clone());
        self.run(added.bind(content.to_owned()), &mut tx).await?;
        let moved = query("UPDATE act_chains SET hash = $2 WHERE tenant = $1");
        self.run(moved.bind(tenant.to_owned()).bind(hash), &mut tx).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    async fn head(&self, tenant: &str) -> Result<Option<ActHead>> {
        let head = query("SELECT number, hash, projected FROM act_chains WHERE tenant = $1");
        let row = head.bind(tenant.to_owned()).fetch_optional(&self.pool).await;
        let head = |row: AnyRow| {
            Ok(ActHead {
                number: self.get(&row, "number")?,
                hash: self.get(&row, "hash")?,
                projected: self.get(&row, "projected")?,
            })
        };
        row.map_err(|e| self.failed(e))?.map(head).transpose()
    }

    async fn rows_behind(&self, tenant: &str, after: i64, limit: i64) -> Result<Vec<ActRow>> {
        let rows = query(
            "SELECT number, previous_hash, hash, content FROM acts WHERE tenant = $1 AND number > $2 ORDER BY number LIMIT $3",
        );
        let rows = rows.bind(tenant.to_owned()).bind(after).bind(limit).fetch_all(&self.pool).await;
        rows.map_err(|e| self.failed(e))?
            .iter()
            .map(|row| {
                Ok(ActRow {
                    number: self.get(row, "number")?,
                    previous: self.get(row, "previous_hash")?,
                    hash: self.get(row, "hash")?,
                    content: self.get(row, "content")?,
                })
            })
            .collect()
    }
}

impl ActStore for SqlStore {
    fn has_chains(&self) -> BoxFuture<'_, Result<bool>> {
        self.in_time(async move {
            let found = query("SELECT 1 AS n FROM act_chains LIMIT 1").fetch_optional(&self.pool);
            Ok(found.await.map_err(|e| self.failed(e))?.is_some())
        })
    }

    fn begin_act<'a>(&'a self, act: &'a BegunAct) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let begun = query(
                "INSERT INTO acts_begun (id, tenant, worker, document) VALUES ($1, $2, $3, $4)",
            );
            let begun = begun.bind(act.id.clone()).bind(act.tenant.clone());
            let begun = begun.bind(act.worker.clone()).bind(act.document.clone());
            begun.execute(&self.pool).await.map(drop).map_err(|e| self.failed(e))
        })
    }

    fn end_act<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        content: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(self.end(tenant, id, content))
    }

    fn audit_head<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Option<ActHead>>> {
        self.in_time(self.head(tenant))
    }

    fn begin_chain<'a>(
        &'a self,
        tenant: &'a str,
        number: i64,
        hash: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let begun = query(
                "INSERT INTO act_chains (tenant, number, hash, projected) VALUES ($1, $2, $3, $2) ON CONFLICT DO NOTHING",
            );
            let begun = begun.bind(tenant.to_owned()).bind(number).bind(hash.to_owned());
            begun.execute(&self.pool).await.map(drop).map_err(|e| self.failed(e))
        })
    }

    fn acts<'a>(
        &'a self,
        tenant: &'a str,
        after: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<ActRow>>> {
        self.in_time(self.rows_behind(tenant, after, limit))
    }

    fn acts_to_project(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.in_time(async move {
            let waiting =
                query("SELECT tenant FROM act_chains WHERE number > projected ORDER BY tenant");
            let rows = waiting.fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
            rows.iter().map(|row| self.get(row, "tenant")).collect()
        })
    }

    fn acts_projected<'a>(&'a self, tenant: &'a str, up_to: i64) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let mut tx = self.begin().await?;
            let said =
                query("UPDATE act_chains SET projected = $2 WHERE tenant = $1 AND projected < $2");
            self.run(said.bind(tenant.to_owned()).bind(up_to), &mut tx).await?;
            let gone = query("DELETE FROM acts WHERE tenant = $1 AND number <= $2");
            self.run(gone.bind(tenant.to_owned()).bind(up_to), &mut tx).await?;
            self.commit(tx).await
        })
    }

    fn lost_acts(&self, limit: i64) -> BoxFuture<'_, Result<Vec<BegunAct>>> {
        self.in_time(async move {
            let lost = query(
                "SELECT id, tenant, worker, document FROM acts_begun WHERE worker NOT IN (SELECT id FROM workers) ORDER BY id LIMIT $1",
            );
            let rows = lost.bind(limit).fetch_all(&self.pool).await.map_err(|e| self.failed(e))?;
            rows.iter()
                .map(|row| {
                    Ok(BegunAct {
                        id: self.get(row, "id")?,
                        tenant: self.get(row, "tenant")?,
                        worker: self.get(row, "worker")?,
                        document: self.get(row, "document")?,
                    })
                })
                .collect()
        })
    }
}
