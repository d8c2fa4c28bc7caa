//! The statements of requests with keys.

use futures::future::BoxFuture;
use sqlx::query;

use super::SqlStore;
use crate::control::{RequestBegin, RequestKey, RequestState, RequestStore, Result};

/// Requests that are forgotten at a time.
const FORGET_MAX: i64 = 100;

impl SqlStore {
    async fn begin_one(&self, of: &RequestKey, begin: &RequestBegin<'_>) -> Result<RequestState> {
        let RequestBegin { question, worker, at_us, forget_us, most } = *begin;
        let old = query(
            "DELETE FROM requests WHERE (tenant, subject, key) IN \
             (SELECT tenant, subject, key FROM requests WHERE begun_at < $1 ORDER BY begun_at LIMIT $2)",
        );
        let old = old.bind(forget_us).bind(FORGET_MAX).execute(&self.pool).await;
        old.map_err(|e| self.failed(e))?;
        let begun = query(
            "INSERT INTO requests (tenant, subject, key, question, worker, begun_at) \
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT COUNT(*) FROM requests WHERE tenant = $1) < $7 \
             ON CONFLICT DO NOTHING",
        );
        let begun = begun.bind(of.tenant.clone()).bind(of.subject.clone()).bind(of.key.clone());
        let begun = begun.bind(question.to_owned()).bind(worker.to_owned()).bind(at_us).bind(most);
        let begun = begun.execute(&self.pool).await.map_err(|e| self.failed(e))?;
        if begun.rows_affected() == 1 {
            return Ok(RequestState::Begun);
        }
        let known = query(
            "SELECT question, answer, (SELECT COUNT(*) FROM workers WHERE workers.id = requests.worker) AS lives \
             FROM requests WHERE tenant = $1 AND subject = $2 AND key = $3",
        );
        let known = known.bind(of.tenant.clone()).bind(of.subject.clone()).bind(of.key.clone());
        let row = known.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
        let Some(row) = row else { return Ok(RequestState::Full) };
        let asked: String = self.get(&row, "question")?;
        if asked != question {
            return Ok(RequestState::Other);
        }
        let (answer, lives): (Option<String>, i64) =
            (self.get(&row, "answer")?, self.get(&row, "lives")?);
        Ok(match answer {
            Some(answer) => RequestState::Answered(answer),
            None if lives > 0 => RequestState::UnderWay,
            None => RequestState::Lost,
        })
    }
}

impl RequestStore for SqlStore {
    fn begin_request<'a>(
        &'a self,
        of: &'a RequestKey,
        begin: &'a RequestBegin<'a>,
    ) -> BoxFuture<'a, Result<RequestState>> {
        self.in_time(self.begin_one(of, begin))
    }

    fn begin_request_again<'a>(
        &'a self,
        of: &'a RequestKey,
        begin: &'a RequestBegin<'a>,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<bool>> {
        self.in_time(async move {
            let begun = query(
                "UPDATE requests SET answer = NULL, worker = $4, begun_at = $5 \
                 WHERE tenant = $1 AND subject = $2 AND key = $3 AND answer = $6",
            );
            let begun = begun.bind(of.tenant.clone()).bind(of.subject.clone()).bind(of.key.clone());
            let begun = begun.bind(begin.worker.to_owned()).bind(begin.at_us);
            let begun = begun.bind(answer.to_owned()).execute(&self.pool).await;
            begun.map(|begun| begun.rows_affected() == 1).map_err(|e| self.failed(e))
        })
    }

    fn answer_request<'a>(
        &'a self,
        of: &'a RequestKey,
        begun_us: i64,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let said = query(
                "UPDATE requests SET answer = $4 \
                 WHERE tenant = $1 AND subject = $2 AND key = $3 AND answer IS NULL AND begun_at = $5",
            );
            let said = said.bind(of.tenant.clone()).bind(of.subject.clone()).bind(of.key.clone());
            let said = said.bind(answer.to_owned()).bind(begun_us).execute(&self.pool).await;
            said.map(drop).map_err(|e| self.failed(e))
        })
    }

    fn forget_request<'a>(
        &'a self,
        of: &'a RequestKey,
        begun_us: i64,
    ) -> BoxFuture<'a, Result<()>> {
        self.in_time(async move {
            let gone = query(
                "DELETE FROM requests \
                 WHERE tenant = $1 AND subject = $2 AND key = $3 AND answer IS NULL AND begun_at = $4",
            );
            let gone = gone.bind(of.tenant.clone()).bind(of.subject.clone()).bind(of.key.clone());
            let gone = gone.bind(begun_us);
            gone.execute(&self.pool).await.map(drop).map_err(|e| self.failed(e))
        })
    }
    fn has_begun<'a>(&'a self, tenant: &'a str, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.in_time(async move {
            let begun = query(
                "SELECT 1 AS n WHERE EXISTS (SELECT 1 FROM runs WHERE id = $2 AND tenant = $1) \
                 OR EXISTS (SELECT 1 FROM ticks WHERE tenant = $1 AND run = $2)",
            );
            let begun = begun.bind(tenant.to_owned()).bind(id.to_owned());
            let begun = begun.fetch_optional(&self.pool).await.map_err(|e| self.failed(e))?;
            Ok(begun.is_some())
        })
    }
}
