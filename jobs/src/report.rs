//! Reports: the queries of a template are asked of one session, and their answers become pages.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use chrono::Utc;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{Code, Error, Pinned, Result, Session, SqlQuery, rows_bytes};
use futures::TryStreamExt as _;
pub use reports::Paper;
use reports::template::{MOST_ROWS, Query};
use reports::{Answer, Fonts, Origin, ParameterValue, READY, Rows, Template, Values};

pub use crate::kinds::report::NAME as JOB;

/// Bytes of the rows that all queries of a report give.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// A page that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A file that browsers show, with all that it needs in it.
    Html,
    /// Pages to print, on this paper, or on that of the template.
    Pdf(Option<Paper>),
}

/// A report, before it is made into pages.
#[derive(Clone, Debug)]
pub struct MadeReport {
    report: reports::Report,
    paper: Paper,
    /// Rows that its queries gave.
    pub rows: u64,
    /// The datasets that they read, each at its version.
    pub datasets: Vec<Pinned>,
}

/// A report that is ready, by its name.
pub fn template(name: &str) -> Result<Template> {
    reports::ready(name).map_err(|error| bad(&error))
}

/// The names and what each tells of the reports that are ready.
pub fn ready_reports() -> Vec<(&'static str, String)> {
    let told = |(name, _): &(&'static str, &str)| {
        let template = reports::ready(name).ok()?;
        Some((*name, template.description.unwrap_or(template.title)))
    };
    READY.iter().filter_map(told).collect()
}

/// The text of one.
pub fn ready_text(name: &str) -> Result<String> {
    template(name)?;
    let found = READY.iter().find(|(ready, _)| *ready == name);
    Ok(found.map(|(_, text)| (*text).to_owned()).unwrap_or_default())
}

/// A template of somebody's own, in the file of this name.
pub fn template_of(file: &str, text: &str) -> Result<Template> {
    Template::parse(file, text).map_err(|error| bad(&error))
}

/// Paper by its name.
pub fn paper(name: &str) -> Result<Paper> {
    name.parse().map_err(|error| bad(&error))
}

/// The datasets without which a report can not be made.
pub(crate) fn required_datasets(template: &Template) -> Result<Vec<DatasetName>> {
    datasets_of(template, template.required_queries())
}

/// All datasets that a report reads where they are there.
pub(crate) fn datasets(template: &Template) -> Result<Vec<DatasetName>> {
    let queries = template.queries.iter().map(|(name, query)| (name.as_str(), query));
    datasets_of(template, queries)
}

fn datasets_of<'a>(
    template: &Template,
    queries: impl IntoIterator<Item = (&'a str, &'a Query)>,
) -> Result<Vec<DatasetName>> {
    let mut datasets = BTreeSet::new();
    for (name, query) in queries {
        datasets.extend(parsed(template, name, query)?.datasets().iter().cloned());
    }
    Ok(datasets.into_iter().collect())
}

/// Asks the queries of a template what `session` sees.
pub async fn made(
    session: &Session,
    template: Template,
    given: &BTreeMap<String, String>,
    asked_by: Option<&str>,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<MadeReport> {
    let mut asking = Asking { session, rows: 0, bytes: 0, read: BTreeMap::new() };
    let mut first = BTreeMap::new();
    for (name, query) in template.queries_of_parameters(given) {
        check()?;
        if let Answer::Rows(rows) = asking.answer(&template, name, query, &Values::new()).await? {
            first.insert(name.to_owned(), rows);
        }
    }
    let now = Utc::now();
    let values = template.values(given, &first, now).map_err(|error| bad(&error))?;
    let mut answers = BTreeMap::new();
    for (name, query) in template.queries_of_sections() {
        check()?;
        let answer = asking.answer(&template, name, query, &values).await?;
        answers.insert(name.to_owned(), answer);
    }
    let Asking { rows, read, .. } = asking;
    let mut notes = Vec::new();
    if !session.grants().is_all() {
        notes.push("It is made of the part of the data that who asked for it may see.".to_owned());
    }
    let origin = Origin {
        made_at: now,
        made_by: format!("Colonnade {}", env!("CARGO_PKG_VERSION")),
        asked_by: asked_by.map(str::to_owned),
        sources: read.iter().map(|(name, version)| (name.to_string(), version.0 as i64)).collect(),
        notes,
    };
    let paper = template.paper;
    let made = move || reports::Report::make(&template, &values, &answers, &origin);
    let report = blocking(made).await?.map_err(|error| bad(&error))?;
    let datasets = read.into_iter().map(|(dataset, version)| Pinned { dataset, version });
    Ok(MadeReport { report, paper, rows, datasets: datasets.collect() })
}

impl MadeReport {
    /// The pages, by the names of their files.
    pub async fn pages(self, pages: Vec<Page>) -> Result<Vec<(String, Vec<u8>)>> {
        blocking(move || {
            let fonts = Fonts::builtin()?;
            let page = |page: Page| match page {
                Page::Html => Ok((
                    "report.html".to_owned(),
                    reports::html(&self.report, &fonts)?.into_bytes(),
                )),
                Page::Pdf(paper) => {
                    let bytes = pdf(&self.report, paper.unwrap_or(self.paper), &fonts)?;
                    Ok(("report.pdf".to_owned(), bytes))
                }
            };
            pages.into_iter().map(page).collect::<reports::Result<_>>()
        })
        .await?
        .map_err(|error| bad(&error))
    }
}

#[cfg(feature = "pdf")]
fn pdf(report: &reports::Report, paper: Paper, fonts: &Fonts) -> reports::Result<Vec<u8>> {
    reports::pdf(report, paper, fonts)
}

#[cfg(not(feature = "pdf"))]
fn pdf(_: &reports::Report, _: Paper, _: &Fonts) -> reports::Result<Vec<u8>> {
    Err(reports::Error::Pages(
        "this build makes no PDF; expected html, or a build with the feature `pdf`".to_owned(),
    ))
}

/// What asks queries, and notes what they read.
struct Asking<'a> {
    session: &'a Session,
    rows: u64,
    /// Of all rows, as they lie in memory.
    bytes: usize,
    read: BTreeMap<DatasetName, engine::Version>,
}

impl Asking<'_> {
    async fn answer(
        &mut self,
        template: &Template,
        name: &str,
        query: &Query,
        values: &Values,
    ) -> Result<Answer> {
        let parsed = parsed(template, name, query)?;
        let catalog = self.session.catalog();
        if let Some(absent) =
            parsed.datasets().iter().find(|dataset| !catalog.datasets.contains_key(*dataset))
        {
            return Ok(Answer::Missing(format!("there is no dataset {absent}")));
        }
        let wanted = template.parameters_of(query);
        let wanted = values.iter().filter(|(name, _)| wanted.contains(*name));
        let parameters: BTreeMap<String, ScalarValue> =
            wanted.map(|(name, value)| (name.clone(), scalar(value))).collect();
        let asked =
            |error: Error| error.while_doing(format!("{}: queries.{name}", template.file()));
        let frame = match self.session.query(&parsed, &parameters).await {
            Ok(frame) => frame,
            // Who sees a part may not see a column, and others have made a mistake.
            Err(error) if !self.session.grants().is_all() && error.code() == Code::BadInput => {
                return Ok(Answer::Missing(format!(
                    "it can not be asked of what is seen here: {error}"
                )));
            }
            Err(error) => return Err(asked(error)),
        };
        self.read.extend(self.session.reads(&frame)?);
        let mut rows = self.session.stream(frame).await.map_err(asked)?;
        let schema = rows.schema();
        let (mut batches, mut count): (Vec<RecordBatch>, usize) = (Vec::new(), 0);
        while let Some(batch) = rows.try_next().await.map_err(|error| asked(error.into()))? {
            count += batch.num_rows();
            if count > MOST_ROWS {
                let says = format!(
                    "queries.{name}: more than {MOST_ROWS} rows; expected it to group them, or a LIMIT"
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
            self.bytes += rows_bytes(&batch);
            if self.bytes > ANSWERS_BYTES_MAX {
                let says = format!(
                    "queries.{name}: with it the answers have more than {ANSWERS_BYTES_MAX} bytes; expected fewer or shorter rows"
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
            batches.push(batch);
        }
        self.rows += count as u64;
        Ok(Answer::Rows(Rows::new(schema, batches)))
    }
}

fn parsed(template: &Template, name: &str, query: &Query) -> Result<SqlQuery> {
    let place = || format!("{}: queries.{name}", template.file());
    SqlQuery::parse(&query.sql).map_err(|error| error.while_doing(place()))
}

fn scalar(value: &ParameterValue) -> ScalarValue {
    match value {
        ParameterValue::Date(day) => {
            let days = day.signed_duration_since(chrono::NaiveDate::default()).num_days();
            ScalarValue::Date32(i32::try_from(days).ok())
        }
        ParameterValue::Text(text) => ScalarValue::Utf8(Some(text.clone())),
        ParameterValue::Integer(number) => ScalarValue::Int64(Some(*number)),
        ParameterValue::Number(number) => ScalarValue::Float64(Some(*number)),
    }
}

fn bad(error: &reports::Error) -> Error {
    Error::user(Code::BadInput, error.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("making a report stopped: {error}")))
}
