//! Goes along the chain from its first row to the last, which control state knows, and names the first that is not as it was written.

use datafusion::prelude::ident;
use datasets::DatasetName;
use engine::{AsOf, Code, Error, Principal, Result, Role};
use futures::StreamExt;
use serde::Serialize;

use super::dataset::{Row, row_of};
use super::{AUDIT, Act, GENESIS, hash_of};
use crate::run::runner::Runner;

/// Acts that may wait to become rows while the chain is gone along.
const WAITING_MAX: i64 = 100_000;

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many acts it has.
    pub acts: i64,
    /// The hash of the last, which is enough to know the whole chain by.
    pub head: String,
    /// Those of them that are not rows of the dataset yet.
    pub not_rows_yet: i64,
    /// Whether control state told which is the last: else some may be missing at the end.
    pub end_is_known: bool,
}

impl Runner {
    /// Goes along the chain of the tenant of `who`; CONFLICT names the first row that is missing, changed or elsewhere. `expected` is
    /// the number and hash of a row as they were noted before, elsewhere.
    pub async fn verify_audit(
        &self,
        who: &Principal,
        expected: Option<(i64, &str)>,
    ) -> Result<Verified> {
        who.require(Role::Admin)?;
        // Before the dataset: what becomes a row in between is found in both.
        let tenant = who.tenant.as_str();
        let head = self.store().audit_head(tenant).await?;
        let waiting = self.store().acts(tenant, 0, WAITING_MAX).await?;
        if i64::try_from(waiting.len()).is_ok_and(|waiting| waiting >= WAITING_MAX) {
            let says =
                format!("audit: {WAITING_MAX} acts are no rows yet; try again when they are");
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        let (engine, name) = (self.engine(), DatasetName::new(AUDIT)?);
        let mut chain =
            Chain::new(head.as_ref().map(|head| (head.number, head.hash.as_str())), expected);
        if super::last(engine, who).await?.is_some() {
            let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
            let frame =
                session.table(&name).await?.sort(vec![ident("number").sort(true, false)])?;
            let mut stream = session.stream(frame).await?;
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                for row in 0..batch.num_rows() {
                    chain.takes(&row_of(&batch, row, who)?)?;
                }
            }
        }
        let rows = chain.number;
        for row in waiting.into_iter().filter(|row| row.number > rows) {
            let act = Act::read(&row.content)?;
            chain.takes(&Row {
                number: row.number,
                previous: row.previous,
                hash: row.hash,
                act,
            })?;
        }
        let acts = chain.number;
        chain.ends()?;
        Ok(Verified {
            acts,
            not_rows_yet: acts - rows,
            end_is_known: head.is_some(),
            head: chain.hash,
        })
    }
}

/// How far one has come along a chain.
struct Chain<'a> {
    number: i64,
    hash: String,
    /// Rows whose hashes are known from elsewhere, and where that is.
    known: [Option<(i64, &'a str, &'static str)>; 2],
}

impl<'a> Chain<'a> {
    fn new(head: Option<(i64, &'a str)>, expected: Option<(i64, &'a str)>) -> Self {
        let known = [
            head.map(|(number, hash)| (number, hash, "control state")),
            expected.map(|(number, hash)| (number, hash, "what was noted of it")),
        ];
        Self { number: 0, hash: GENESIS.to_owned(), known }
    }

    fn takes(&mut self, row: &Row) -> Result<()> {
        let next = self.number + 1;
        match row.number {
            number if number > next => return Err(broken(next, "it is missing")),
            // Written twice by who did not hear that it was: nothing is otherwise than it was.
            number if number == self.number && row.hash == self.hash && is_whole(row)? => {
                return Ok(());
            }
            number if number < next => {
                return Err(broken(number, "it is there twice, or out of its order"));
            }
            _ => {}
        }
        if !is_whole(row)? {
            return Err(broken(next, "it was changed: its hash is not that of what it says"));
        }
        if row.previous != self.hash {
            return Err(broken(
                next,
                "it was changed, or the one before it: it follows another row",
            ));
        }
        (self.number, self.hash) = (next, row.hash.clone());
        for (number, hash, place) in self.known.iter().flatten() {
            if *number == next && *hash != row.hash {
                let says = format!("it was changed: {place} has another hash of it");
                return Err(broken(next, &says));
            }
        }
        Ok(())
    }

    fn ends(&self) -> Result<()> {
        match self.known.iter().flatten().find(|(number, ..)| *number > self.number) {
            Some((number, _, place)) => {
                let says = format!("it is missing: {place} knows of rows up to {number}");
                Err(broken(self.number + 1, &says))
            }
            None => Ok(()),
        }
    }
}

fn is_whole(row: &Row) -> Result<bool> {
    Ok(hash_of(&row.previous, row.number, &row.act.content()?) == row.hash)
}

fn broken(number: i64, says: &str) -> Error {
    Error::user(
        Code::Conflict,
        format!("audit: row {number}: {says}; the rows before it are as they were written"),
    )
}
