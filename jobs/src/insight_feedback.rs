//! What people say of insights: rows of the dataset `insight_feedback`, one for each time that somebody said so; of each insight the last
//! one counts. The job `insights` reads them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use datafusion::logical_expr::{ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{Code, Commit, Engine, Error, Principal, Result, did_you_mean};

use crate::parameters::dataset_name;
use crate::run::record::now;
use crate::tables::columns::{column, timestamps};
use crate::texts::labels::append;

/// Longest comment, in bytes.
const COMMENT_MAX_BYTES: usize = 4_096;
/// Ids that one which is not there is compared with.
const IDS_COMPARED: usize = 10_000;

/// What somebody says of an insight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its like counts for more.
    Useful,
    /// It is not said again.
    Known,
    /// It is not said again, and its like counts for less.
    Wrong,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Useful, Self::Known, Self::Wrong];

    /// As it stands in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::Known => "known",
            Self::Wrong => "wrong",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let says = format!("verdict: expected useful, known or wrong, found {shown:?}");
            Error::user(Code::BadInput, says)
        })
    }
}

/// The spec of `insight_feedback`.
pub fn spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: dataset_name("insight_feedback"),
        description: "What people say of insights; of each the last word counts".into(),
        owner: None,
        derived: true,
        key: ["id", "at"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        partition_by: Vec::new(),
        columns: vec![
            text("id", "The insight"),
            text("verdict", "useful, known or wrong"),
            column("comment", ColumnType::Text, true, "Why"),
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", "Who said it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Commits a word on an insight of `dataset`. `NOT_FOUND` where it has none of that id, `BAD_INPUT` for a comment that is too long.
pub async fn rate(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    id: &str,
    verdict: Verdict,
    comment: Option<&str>,
) -> Result<Commit> {
    if let Some(found) = comment.map(str::len).filter(|found| *found > COMMENT_MAX_BYTES) {
        let says = format!("comment: expected at most {COMMENT_MAX_BYTES} bytes, found {found}");
        return Err(Error::user(Code::BadInput, says));
    }
    require_there(engine, who, dataset, id).await?;
    let one = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        one(id),
        one(verdict.as_str()),
        Arc::new(StringArray::from(vec![comment])),
        timestamps(std::iter::once(now().timestamp_micros())),
        one(&who.subject),
    ];
    append(engine, who, &spec(), columns, "rate insight").await
}

async fn require_there(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    id: &str,
) -> Result<()> {
    let session = engine.session(who, &[]).await?;
    let ids = session.table(dataset).await?.select(vec![ident("id")])?;
    let named = ids.clone().filter(ident("id").eq(lit(id)))?.limit(0, Some(1))?;
    let is_there = session.collect(named).await?.iter().any(|batch| batch.num_rows() > 0);
    if is_there {
        return Ok(());
    }
    let some = session.collect(ids.distinct()?.limit(0, Some(IDS_COMPARED))?).await?;
    let some = some.iter().map(|batch| crate::tables::columns::texts(batch, 0));
    let some = some.collect::<Result<Vec<_>>>()?;
    let shown: String = id.chars().take(80).collect();
    let near = did_you_mean(&shown, some.iter().flat_map(|texts| texts.iter().flatten()));
    let near = near.map(|near| format!("; {near}")).unwrap_or_default();
    Err(Error::user(
        Code::NotFound,
        format!("insight {shown:?}: {dataset} has none of that id{near}"),
    ))
}
