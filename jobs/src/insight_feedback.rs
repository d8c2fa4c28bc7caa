//! What people say of insights: rows of the dataset `insight_feedback`, one for each time that somebody said so; of each insight the last
//! one counts. The job `insights` reads them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{Code, Commit, Engine, Error, Principal, Result};

use crate::definitions;
use crate::parameters::dataset_name;
use crate::run::record::now;
use crate::series::microseconds;
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
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("id", "The insight"),
            text("verdict", "useful, known or wrong"),
            column("comment", ColumnType::Text, true, "Why"),
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", "Who said it"),
            column("kind", ColumnType::Text, true, "Kind of the insight"),
            column("source", ColumnType::Text, true, "Its dataset"),
            column("subject", ColumnType::Text, true, "Its subject"),
            column("started_at", ColumnType::Timestamp, true, "When what it says began"),
            column("ended_at", ColumnType::Timestamp, true, "When what it says ended"),
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
    let of = rated(engine, who, dataset, id).await?;
    let one = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let mut columns: Vec<ArrayRef> = vec![
        one(id),
        one(verdict.as_str()),
        Arc::new(StringArray::from(vec![comment])),
        timestamps(std::iter::once(now().timestamp_micros())),
        one(&who.subject),
    ];
    columns.extend(of);
    append(engine, who, &spec(), columns, "rate insight").await
}

/// What the words are about, so that they count also where the insight is not there any more: its kind, dataset, subject, beginning and
/// end.
async fn rated(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    id: &str,
) -> Result<Vec<ArrayRef>> {
    let session = engine.session(who, &[]).await?;
    let table = session.table(dataset).await?;
    let entry = session.catalog().datasets.get(dataset);
    let has = |column: &&str| {
        entry.is_some_and(|entry| entry.spec.columns.iter().any(|of| of.name == **column))
    };
    let is_ours = entry.is_some_and(|entry| entry.spec.derived)
        && ["id", "day", "kind", "source", "subject", "started_at", "ended_at"].iter().all(has);
    if !is_ours {
        let says = format!("dataset: expected one of the job insights, found {dataset}");
        return Err(Error::user(Code::BadInput, says));
    }
    let columns = ["kind", "source", "subject"].map(|name| cast(ident(name), DataType::Utf8));
    let times = ["started_at", "ended_at"].map(|name| cast(ident(name), microseconds()));
    let newest = table.clone().filter(ident("id").eq(lit(id)))?;
    let newest = newest.sort(vec![ident("day").sort(false, false)])?.limit(0, Some(1))?;
    let newest = newest.select(columns.into_iter().chain(times).collect::<Vec<_>>())?;
    let found = session.collect(newest).await?;
    if let Some(row) = found.iter().find(|batch| batch.num_rows() > 0) {
        return Ok(row.columns().to_vec());
    }
    let ids = table.select(vec![ident("id")])?.distinct()?;
    let some = session.collect(ids.limit(0, Some(IDS_COMPARED))?).await?;
    let some = some.iter().map(|batch| crate::tables::columns::texts(batch, 0));
    let some = some.collect::<Result<Vec<_>>>()?;
    let shown: String = id.chars().take(80).collect();
    let near = definitions::meant(&shown, some.iter().flat_map(|texts| texts.iter().flatten()));
    Err(Error::user(
        Code::NotFound,
        format!("insight {shown:?}: {dataset} has none of that id{near}"),
    ))
}
