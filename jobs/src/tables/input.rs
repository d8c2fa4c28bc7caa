//! An input as a frame whose columns are checked against the parameters that name them, so that a wrong
//! name is told with the parameter it came from and the columns that there are.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::prelude::DataFrame;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};

use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::tables::columns::type_name;

/// A parameter, the column that it names, a description of the required type, and a check of it.
pub(crate) type Asked<'a> = (&'a str, &'a str, &'static str, fn(&DataType) -> bool);

/// The same for a parameter that may name no column.
pub(crate) fn optional<'a>(
    parameter: &'a str,
    column: &'a Option<String>,
    what: &'static str,
    fits: fn(&DataType) -> bool,
) -> Option<Asked<'a>> {
    column.as_deref().map(|column| (parameter, column, what, fits))
}

/// A dataset at its pinned version, as a job reads it.
pub(crate) struct InputTable<'a> {
    job: &'static str,
    dataset: &'a DatasetName,
    pub(crate) frame: DataFrame,
}

impl<'a> InputTable<'a> {
    pub(crate) async fn open(
        session: &Session,
        job: &'static str,
        dataset: &'a DatasetName,
    ) -> Result<Self> {
        Ok(Self { job, dataset, frame: session.table(dataset).await? })
    }

    /// Fails with `BAD_INPUT` naming `parameter` when `condition` can't be put to its rows.
    pub(crate) async fn check_condition(
        &self,
        session: &Session,
        parameter: &str,
        condition: Option<&str>,
    ) -> Result<()> {
        let Some(condition) = condition else { return Ok(()) };
        let read = session.safe_condition(self.dataset, condition).await;
        read.map(drop).map_err(|error| bad(self.job, parameter, error.to_string()))
    }

    /// `condition` of its rows, null of those that it can't be computed of; these are counted.
    pub(crate) async fn condition(&self, ctx: &RunContext, condition: &str) -> Result<Expr> {
        let read = ctx.session().safe_condition(self.dataset, condition).await?;
        ctx.session().or_null(read, self.frame.schema(), ctx.uncomputed())
    }

    /// Its rows of which `condition` is true.
    pub(crate) async fn only_where(
        &self,
        ctx: &RunContext,
        condition: Option<&str>,
    ) -> Result<DataFrame> {
        match condition {
            Some(condition) => {
                Ok(self.frame.clone().filter(self.condition(ctx, condition).await?)?)
            }
            None => Ok(self.frame.clone()),
        }
    }

    /// [`Self::check`] for several columns. If several are missing, the error names them all.
    pub(crate) fn check_all(&self, columns: &[Asked<'_>]) -> Result<()> {
        let fields = self.frame.schema().fields();
        let is_there = |column: &str| fields.iter().any(|field| field.name() == column);
        let missing = columns.iter().filter(|(_, column, ..)| !is_there(column));
        let missing: Vec<String> =
            missing.map(|(parameter, column, ..)| format!("{column:?} ({parameter})")).collect();
        if missing.len() > 1 {
            let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            let says = format!(
                "{}: dataset {} has none of the columns {}; expected one of {} for each",
                self.job,
                self.dataset,
                missing.join(", "),
                names.join(", ")
            );
            return Err(Error::user(Code::BadInput, says));
        }
        let mut each = columns.iter();
        each.try_for_each(|(parameter, column, what, fits)| {
            self.check(parameter, column, what, fits)
        })
    }

    /// Fails with `BAD_INPUT` naming `parameter` when there is no such column, or its type does not fit.
    pub(crate) fn check(
        &self,
        parameter: &str,
        column: &str,
        expected: &str,
        fits: impl Fn(&DataType) -> bool,
    ) -> Result<()> {
        let fields = self.frame.schema().fields();
        let Some(field) = fields.iter().find(|field| field.name() == column) else {
            let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            return Err(bad(
                self.job,
                parameter,
                format!(
                    "dataset {} has no column {column:?}; expected one of {}",
                    self.dataset,
                    names.join(", ")
                ),
            ));
        };
        if fits(field.data_type()) {
            return Ok(());
        }
        Err(bad(
            self.job,
            parameter,
            format!(
                "column {column:?} of dataset {}: expected {expected}, found {}",
                self.dataset,
                type_name(field.data_type())
            ),
        ))
    }
}

fn declared<'a>(session: &'a Session, dataset: &DatasetName) -> Option<&'a DatasetSpec> {
    session.catalog().datasets.get(dataset).map(|entry| &entry.spec)
}

/// The column of instants that a dataset declares.
pub(crate) fn declared_time<'a>(session: &'a Session, dataset: &DatasetName) -> Option<&'a str> {
    declared(session, dataset)?.time_column.as_deref()
}

/// The column of instants that is asked for, or that the dataset declares. Fails with `BAD_INPUT` where there is neither.
pub(crate) fn time_column(
    session: &Session,
    job: &'static str,
    dataset: &DatasetName,
    asked: Option<&str>,
) -> Result<String> {
    asked.or(declared_time(session, dataset)).map(str::to_owned).ok_or_else(|| {
        bad(job, "time_column", format!("expected a column: dataset {dataset} declares none"))
    })
}

/// The column of instants that is asked for, or that the dataset declares, or `at`.
pub(crate) fn time_or_at(session: &Session, dataset: &DatasetName, asked: Option<&str>) -> String {
    asked.or(declared_time(session, dataset)).unwrap_or("at").to_owned()
}

/// The column of names that is asked for, or that the dataset declares as its whole key, or `id`.
pub(crate) fn key_or_id(session: &Session, dataset: &DatasetName, asked: Option<&str>) -> String {
    let key = declared(session, dataset).and_then(|spec| {
        let [key] = spec.key.as_slice() else { return None };
        let column = spec.columns.iter().find(|column| column.name == *key)?;
        is_name(&column.data_type.arrow_type()).then_some(key.as_str())
    });
    asked.or(key).unwrap_or("id").to_owned()
}

/// A description of types that pass [`DataType::is_temporal`].
pub(crate) const INSTANTS: &str = "a timestamp or date";

/// What names are, in words, for [`is_name`].
pub(crate) const NAMES: &str = "a text, truth value or whole number";

/// Whether values can name something.
pub(crate) fn is_name(data_type: &DataType) -> bool {
    data_type.is_integer() || is_text(data_type) || *data_type == DataType::Boolean
}

/// Whether values are numbers, truth values as 0 and 1 among them.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// Whether values are texts.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
