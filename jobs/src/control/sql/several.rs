//! The statements of what processes on one root tell each other: which root it is, and what was committed.

use sqlx::query;

use super::SqlStore;
use crate::control::{Notice, Result};

impl SqlStore {
    pub(super) async fn notify_of(&self, notices: &[Notice]) -> Result<()> {
        let mut tx = self.begin().await?;
        for notice in notices {
            // Who has a number has the next ones to itself until it ends: so they are seen in their order.
            let next = query(
                "UPDATE counters SET value = value + 1 WHERE name = 'notice' RETURNING value",
            );
            let row = next.fetch_one(&mut *tx).await.map_err(|e| self.failed(e))?;
            let number: i64 = self.get(&row, "value")?;
            let said = query(
                "INSERT INTO notices (tenant, dataset, version, notice) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant, dataset) \
                 DO UPDATE SET version = excluded.version, notice = excluded.notice \
                 WHERE notices.version < excluded.version OR (excluded.version = 0 AND notices.version > 0)",
            );
            let said = said
                .bind(notice.tenant.clone())
                .bind(notice.dataset.clone())
                .bind(notice.version)
                .bind(number);
            self.run(said, &mut tx).await?;
        }
        self.commit(tx).await
    }

    pub(super) async fn notices_after(&self, after: i64, limit: i64) -> Result<Vec<Notice>> {
        let said = query(
            "SELECT tenant, dataset, version, notice FROM notices WHERE notice > $1 ORDER BY notice LIMIT $2",
        );
        let rows = said.bind(after).bind(limit).fetch_all(&self.pool).await;
        rows.map_err(|e| self.failed(e))?
            .iter()
            .map(|row| {
                Ok(Notice {
                    tenant: self.get(row, "tenant")?,
                    dataset: self.get(row, "dataset")?,
                    version: self.get(row, "version")?,
                    number: self.get(row, "notice")?,
                })
            })
            .collect()
    }

    pub(super) async fn root_of(&self, id: &str) -> Result<String> {
        let mut tx = self.begin().await?;
        let first =
            query("INSERT INTO about (name, value) VALUES ('root', $1) ON CONFLICT DO NOTHING");
        self.run(first.bind(id.to_owned()), &mut tx).await?;
        let known = query("SELECT value FROM about WHERE name = 'root'");
        let row = known.fetch_one(&mut *tx).await.map_err(|e| self.failed(e))?;
        let root = self.get(&row, "value")?;
        self.commit(tx).await?;
        Ok(root)
    }
}
