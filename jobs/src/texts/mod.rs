//! Reading texts out of a dataset, for every job that looks at words. A row's text is that of one or more
//! columns, one after the other; rows come in one fixed order, the oldest first, so that "the first of
//! these" means the same in every run.

pub mod labels;

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{cast, ident, try_cast};
use datasets::DatasetName;
use engine::{Error, Result, Session};
use futures::StreamExt;

use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::tables::input::{InputTable, is_number, is_text};

/// Which columns of which dataset hold the texts.
#[derive(Clone, Debug)]
pub(crate) struct TextSource<'a> {
    pub(crate) job: &'static str,
    pub(crate) dataset: &'a DatasetName,
    pub(crate) id_column: &'a str,
    pub(crate) text_columns: &'a [String],
    /// Columns whose numbers are read beside them.
    pub(crate) number_columns: &'a [String],
    /// Rows come by this column, then by id; `None`: by id.
    pub(crate) order_column: Option<&'a str>,
    /// What the parameter is called that names it.
    pub(crate) order_parameter: &'static str,
}

impl<'a> TextSource<'a> {
    /// Fails with `BAD_INPUT` naming the parameter when a column is not there or of a wrong type.
    pub(crate) async fn check(&self, session: &Session) -> Result<InputTable<'a>> {
        let table = InputTable::open(session, self.job, self.dataset).await?;
        let id_fits = |t: &DataType| t.is_integer() || is_text(t);
        table.check("id_column", self.id_column, "a text or whole number", id_fits)?;
        if self.text_columns.is_empty() {
            return Err(bad(self.job, "text_columns", "expected at least one column, found none"));
        }
        for column in self.text_columns {
            table.check("text_columns", column, "a text", is_text)?;
        }
        for column in self.number_columns {
            table.check("feature_columns", column, "a number or truth value", is_number)?;
        }
        if let Some(column) = self.order_column {
            let fits = |t: &DataType| t.is_temporal() || t.is_numeric() || is_text(t);
            table.check(self.order_parameter, column, "a timestamp, number or text", fits)?;
        }
        Ok(table)
    }

    /// Begins to read, as far as its columns are there.
    pub(crate) async fn read(&self, ctx: &RunContext) -> Result<TextReader> {
        let table = self.check(ctx.session()).await?;
        let mut order = vec![ident(self.id_column).sort(true, false)];
        order.extend(self.order_column.map(|column| ident(column).sort(true, false)));
        order.reverse();
        let mut columns = vec![cast(ident(self.id_column), DataType::Utf8).alias("id")];
        for (index, column) in self.text_columns.iter().enumerate() {
            columns.push(cast(ident(column), DataType::Utf8).alias(format!("text_{index}")));
        }
        for (index, column) in self.number_columns.iter().enumerate() {
            let number = try_cast(ident(column), DataType::Float64);
            columns.push(number.alias(format!("number_{index}")));
        }
        let frame = table.frame.sort(order)?.select(columns)?;
        let rows = ctx.session().stream(frame).await?;
        let texts = self.text_columns.len();
        Ok(TextReader { rows, texts, rows_read: 0, bytes_read: 0 })
    }
}

/// The texts of a row as one, a line each, which still knows where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowText {
    whole: String,
    fields: Vec<Range<usize>>,
}

impl RowText {
    /// Of these fields; one that is null is no line.
    pub(crate) fn of<'a>(fields: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut row = Self::default();
        let mut is_first = true;
        for field in fields {
            if let Some(text) = field {
                if !is_first {
                    row.whole.push('\n');
                }
                is_first = false;
                row.whole.push_str(text);
            }
            let end = row.whole.len();
            row.fields.push(end - field.map_or(0, str::len)..end);
        }
        row
    }

    /// All of it.
    pub(crate) fn whole(&self) -> &str {
        &self.whole
    }

    /// Field by field; one that is null is empty.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|range| &self.whole[range.clone()])
    }

    /// What is embedded of it: all of it as one text, or `count` fields.
    pub(crate) fn inputs(&self, count: usize) -> impl Iterator<Item = &str> {
        let (whole, fields) = match count {
            1 => (Some(self.whole()), None),
            _ => (None, Some(self.fields())),
        };
        whole.into_iter().chain(fields.into_iter().flatten())
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.whole.len() + self.fields.len() * size_of::<Range<usize>>()
    }
}

/// Rows, a batch at a time.
pub(crate) struct TextReader {
    rows: SendableRecordBatchStream,
    texts: usize,
    pub(crate) rows_read: u64,
    pub(crate) bytes_read: u64,
}

impl TextReader {
    /// The next rows; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<TextRows>> {
        let Some(batch) = self.rows.next().await.transpose()? else { return Ok(None) };
        self.rows_read += batch.num_rows() as u64;
        self.bytes_read += batch.get_array_memory_size() as u64;
        TextRows::of(&batch, self.texts).map(Some)
    }
}

/// Some rows: the id, the texts and the numbers of each.
pub(crate) struct TextRows {
    ids: StringArray,
    texts: Vec<StringArray>,
    numbers: Vec<Float64Array>,
}

impl TextRows {
    /// Of a batch with an id, so many texts, and numbers.
    fn of(batch: &RecordBatch, texts: usize) -> Result<Self> {
        let (texts, numbers) = batch.columns().split_at_checked(1 + texts).unwrap_or_default();
        let number = |column: &ArrayRef| {
            let column = column.as_primitive_opt::<Float64Type>();
            column.cloned().ok_or_else(|| Error::internal("texts: not a number"))
        };
        let numbers = numbers.iter().map(number).collect::<Result<_>>()?;
        let mut columns = Vec::with_capacity(texts.len());
        for column in texts {
            let column = arrow::compute::cast(column, &DataType::Utf8)?;
            let column = column.as_string_opt::<i32>();
            columns.push(column.cloned().ok_or_else(|| Error::internal("texts: not a text"))?);
        }
        let mut columns = columns.into_iter();
        let ids = columns.next().ok_or_else(|| Error::internal("texts: no id"))?;
        Ok(Self { ids, texts: columns.collect(), numbers })
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The id of a row; none where it is null.
    pub(crate) fn id(&self, row: usize) -> Option<&str> {
        self.ids.is_valid(row).then(|| self.ids.value(row))
    }

    /// The text of one column; none where it is null.
    pub(crate) fn text(&self, row: usize, column: usize) -> Option<&str> {
        let texts = self.texts.get(column)?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// The numbers of a row, NaN where one is null.
    pub(crate) fn numbers(&self, row: usize) -> impl Iterator<Item = f64> {
        let of = move |of: &Float64Array| if of.is_valid(row) { of.value(row) } else { f64::NAN };
        self.numbers.iter().map(of)
    }

    /// The texts of a row in some of the columns.
    pub(crate) fn row_text(&self, row: usize, columns: Range<usize>) -> RowText {
        RowText::of(columns.map(|column| self.text(row, column)))
    }

    /// The texts of a row, in the order of the columns; those that are null are left out.
    pub(crate) fn texts(&self, row: usize) -> impl Iterator<Item = &str> {
        self.texts.iter().filter(move |text| text.is_valid(row)).map(move |text| text.value(row))
    }
}
