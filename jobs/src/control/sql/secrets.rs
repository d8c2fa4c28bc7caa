//! The statements of secrets.

use futures::future::BoxFuture;
use sqlx::query;

use super::SqlStore;
use crate::control::{Result, SecretStore};

impl SecretStore for SqlStore {
    fn secret<'a>(&'a self, name: &'a str, fresh: &'a str) -> BoxFuture<'a, Result<String>> {
        self.in_time(async move {
            let made =
                query("INSERT INTO secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            let made = made.bind(name.to_owned()).bind(fresh.to_owned());
            made.execute(&self.pool).await.map_err(|e| self.failed(e))?;
            let kept = query("SELECT secret FROM secrets WHERE name = $1").bind(name.to_owned());
            let row = kept.fetch_one(&self.pool).await.map_err(|e| self.failed(e))?;
            self.get(&row, "secret")
        })
    }
}
