//! A partition of a job's time: what one run of a backfill is for, and the rows of a result that are its own. A run takes the place
//! of those alone, so that it may be repeated beside others.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::logical_expr::{Expr, ident, lit};
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result};

use crate::tables::columns::type_name;

/// A stretch of time, from its first instant to the first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant that is not its own.
    pub to: DateTime<Utc>,
}

impl Partition {
    /// Whether the time in `column` is its own.
    pub(crate) fn of(self, column: &str) -> Expr {
        let at = |at: DateTime<Utc>| {
            let us = Some(at.timestamp_micros());
            lit(ScalarValue::TimestampMicrosecond(us, Some("UTC".into())))
        };
        let begun = ident(column).gt_eq(at(self.from));
        begun.and(ident(column).lt(at(self.to)))
    }

    /// Fails where a row's time in `column` is another partition's: a repeat would not take its place.
    pub(crate) fn require_rows(
        self,
        job: &str,
        column: &str,
        batches: &[RecordBatch],
    ) -> Result<()> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let own = self.from.timestamp_micros()..self.to.timestamp_micros();
        for batch in batches {
            let Some(times) = batch.column_by_name(column) else { continue };
            let is_time = matches!(times.data_type(), DataType::Timestamp(..));
            let expected =
                format!("a {column} from {} until before {}", shown(self.from), shown(self.to));
            let refused = |found: String| {
                let says = format!("{job}: mode \"partition\": expected {expected}, found {found}");
                Err(Error::user(Code::BadInput, says))
            };
            if !is_time {
                return refused(format!("a column of {}", type_name(times.data_type())));
            }
            let times = cast(times, &instant)?;
            for at in times.as_primitive::<TimestampMicrosecondType>() {
                match at {
                    Some(at) if own.contains(&at) => {}
                    Some(at) => {
                        let at = DateTime::from_timestamp_micros(at).map(shown);
                        return refused(format!("a row of {}", at.unwrap_or_default()));
                    }
                    None => return refused("a row without one".to_owned()),
                }
            }
        }
        Ok(())
    }
}

/// An instant as parameters and programs have it.
pub(crate) fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
