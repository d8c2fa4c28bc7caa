//! Rows of datasets as lists of prices.
//!
//! A price is in a column of its name, such as `input_cost_per_token`, or in the JSON of the column `details`, where LiteLLM's list has
//! all of them; the column counts where both say something.

use analysis::money::{AMOUNT_SCALE, Amount, Listed, PriceBook, PriceKey, Rates};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::logical_expr::{Expr, cast, ident, try_cast};
use datasets::DatasetName;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use serde_json::{Map, Value};

use super::NAME;
use super::params::Params;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::columns::texts;
use crate::tables::input::{INSTANTS, InputTable, is_text};
use crate::tables::rows::AMOUNT_PRECISION;

/// Rows of all lists together, at most: they are all held.
const ROWS_MAX: usize = 1_000_000;
/// Those of one model in one list.
const ROWS_OF_MODEL_MAX: usize = 10_000;
/// Bytes of a model's details that are read, at most.
const DETAILS_MAX: usize = 1 << 20;
/// Currencies whose unit is worth about as much as a dollar.
const USUAL_CURRENCIES: [&str; 4] = ["usd", "eur", "gbp", "chf"];
/// A hundredth of a unit.
const CENT_ATTO: i128 = 10_000_000_000_000_000;
/// Columns that a list may have beside its prices.
const MODEL: &str = "model";
const PROVIDER: &str = "provider";
const CURRENCY: &str = "currency";
const FROM: &str = "valid_from";
const UNTIL: &str = "valid_until";
const DETAILS: &str = "details";

/// The lists, and what was left out of them.
#[derive(Default)]
pub(super) struct Prices {
    pub(super) book: PriceBook,
    /// Rows that name no model.
    pub(super) nameless: u64,
    /// Prices that are none: no numbers, below zero, or more than [`dearest`] for one token.
    pub(super) unbelievable: u64,
}

/// Checks that a dataset can be read as a list.
pub(super) async fn check<'a>(
    session: &Session,
    dataset: &'a DatasetName,
) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, NAME, dataset).await?;
    table.check("prices", MODEL, "a text", is_text)?;
    let schema = table.frame.schema();
    let has = |name: &str| schema.fields().iter().any(|field| field.name() == name);
    for name in [PROVIDER, CURRENCY].into_iter().filter(|name| has(name)) {
        table.check("prices", name, "a text", is_text)?;
    }
    for name in [FROM, UNTIL].into_iter().filter(|name| has(name)) {
        table.check("prices", name, INSTANTS, |t| t.is_temporal())?;
    }
    let mut is_list = false;
    for field in schema.fields() {
        let name = field.name();
        if PriceKey::parse(name).is_some() {
            table.check("prices", name, "a number", |t| t.is_numeric() || is_text(t))?;
            is_list = true;
        }
        is_list |= name == DETAILS && is_text(field.data_type());
    }
    if is_list {
        return Ok(table);
    }
    let says = format!(
        "dataset {dataset} has no price of a token; expected a column such as input_cost_per_token or output_cost_per_token"
    );
    Err(bad(NAME, "prices", says))
}

/// Reads all lists, in order.
pub(super) async fn read(ctx: &RunContext, params: &Params) -> Result<Prices> {
    let mut prices = Prices::default();
    let mut rows = 0;
    for dataset in &params.prices {
        prices.book.begin_list();
        let table = check(ctx.session(), dataset).await?;
        let wanted = table.frame.schema().fields().iter().filter_map(|field| {
            let (name, of) = (field.name().as_str(), field.data_type());
            match name {
                MODEL | PROVIDER | CURRENCY => Some(cast(ident(name), DataType::Utf8).alias(name)),
                FROM | UNTIL => Some(cast(ident(name), microseconds()).alias(name)),
                DETAILS if is_text(of) => Some(cast(ident(name), DataType::Utf8).alias(name)),
                _ => PriceKey::parse(name).map(|_| number(name, of).alias(name)),
            }
        });
        let wanted = wanted.collect::<Vec<_>>();
        let mut batches = ctx.session().stream(table.frame.select(wanted)?).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            rows += batch.num_rows();
            if rows > ROWS_MAX {
                let says =
                    format!("{NAME}: expected at most {ROWS_MAX} rows of prices, found more");
                return Err(Error::user(Code::LimitExceeded, says));
            }
            prices.add(params, &batch)?;
        }
    }
    prices.book.finish();
    match prices.book.longest() {
        Some((model, found)) if found > ROWS_OF_MODEL_MAX => {
            let says = format!(
                "{NAME}: expected at most {ROWS_OF_MODEL_MAX} rows of prices of one model, found {found} of {model:?}"
            );
            Err(Error::user(Code::LimitExceeded, says))
        }
        _ => Ok(prices),
    }
}

impl Prices {
    fn add(&mut self, params: &Params, batch: &RecordBatch) -> Result<()> {
        let of = Columns::of(batch)?;
        for row in 0..batch.num_rows() {
            let Some(model) = value(Some(&of.model), row).filter(|name| !name.is_empty()) else {
                self.nameless += 1;
                continue;
            };
            let currency = value(of.currency.as_ref(), row).map(str::trim);
            let listed = Listed {
                provider: value(of.provider.as_ref(), row).map(str::to_owned),
                from_us: instant(of.from.as_ref(), row),
                until_us: instant(of.until.as_ref(), row),
                is_foreign: currency
                    .is_some_and(|own| !own.eq_ignore_ascii_case(params.currency.trim())),
                rates: self.rates(params, &of, row),
            };
            self.book.add(model, listed);
        }
        Ok(())
    }

    fn rates(&mut self, params: &Params, of: &Columns, row: usize) -> Rates {
        let dearest = dearest(params.currency.trim());
        let mut rates = Rates::default();
        let mut set = |key, price: Option<Amount>| {
            let price = price.filter(|price| price.atto() <= dearest.atto());
            if !price.is_some_and(|price| rates.set(key, price)) {
                self.unbelievable += 1;
            }
        };
        let details = value(of.details.as_ref(), row)
            .filter(|text| text.len() <= DETAILS_MAX)
            .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        for (name, price) in details.iter().flatten() {
            if let (Some(key), Value::Number(number)) = (PriceKey::parse(name), price) {
                set(key, Amount::parse(&number.to_string()));
            }
        }
        for (key, column) in &of.prices {
            // Of a text that is empty nothing is said.
            let text = column.as_string_opt::<i32>();
            let is_empty = text.is_some_and(|of| of.value(row).is_empty());
            if column.is_valid(row) && !is_empty {
                set(key.clone(), amount_at(column, row));
            }
        }
        rates
    }
}

/// What a token costs at most: in the currencies that most lists are in a cent, which is what lists by a million tokens exceed that were
/// taken for lists by the token.
fn dearest(currency: &str) -> Amount {
    let is_usual = USUAL_CURRENCIES.iter().any(|usual| currency.eq_ignore_ascii_case(usual));
    Amount::of_atto(if is_usual { CENT_ATTO } else { i128::MAX })
}

/// A column of numbers as [`amount_at`] reads it.
pub(super) fn number(column: &str, of: &DataType) -> Expr {
    match of {
        DataType::Decimal128(..) | DataType::Float32 => ident(column),
        // What was read as a float is taken as it was written.
        of if of.is_floating() => cast(ident(column), DataType::Float64),
        of if of.is_integer() => try_cast(ident(column), DataType::Int64),
        of if is_text(of) => cast(ident(column), DataType::Utf8),
        _ => try_cast(ident(column), DataType::Decimal128(AMOUNT_PRECISION, AMOUNT_SCALE)),
    }
}

/// The number in a row of a column, exactly as it is or as it was written.
pub(super) fn amount_at(column: &ArrayRef, row: usize) -> Option<Amount> {
    match column.data_type() {
        DataType::Decimal128(_, scale) => {
            Amount::of_decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            value.is_finite().then(|| Amount::parse(&format!("{value:e}"))).flatten()
        }
        DataType::Float64 => Amount::of_float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Amount::parse(column.as_string::<i32>().value(row)),
        DataType::Int64 => {
            Amount::of_decimal(column.as_primitive::<Int64Type>().value(row).into(), 0)
        }
        _ => None,
    }
}

/// The columns of some rows.
struct Columns {
    model: StringArray,
    provider: Option<StringArray>,
    currency: Option<StringArray>,
    from: Option<PrimitiveArray<TimestampMicrosecondType>>,
    until: Option<PrimitiveArray<TimestampMicrosecondType>>,
    details: Option<StringArray>,
    prices: Vec<(PriceKey, ArrayRef)>,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        let place = |name: &str| schema.index_of(name).ok();
        let text = |name: &str| place(name).map(|at| texts(batch, at)).transpose();
        let time =
            |name: &str| batch.column_by_name(name).and_then(|of| of.as_primitive_opt().cloned());
        let named = schema.fields().iter().zip(batch.columns());
        let prices = named.filter_map(|(field, column)| {
            PriceKey::parse(field.name()).map(|key| (key, column.clone()))
        });
        Ok(Self {
            model: text(MODEL)?.ok_or_else(|| Error::internal(format!("{NAME}: no model")))?,
            provider: text(PROVIDER)?,
            currency: text(CURRENCY)?,
            from: time(FROM),
            until: time(UNTIL),
            details: text(DETAILS)?,
            prices: prices.collect(),
        })
    }
}

fn value(of: Option<&StringArray>, row: usize) -> Option<&str> {
    of.filter(|of| of.is_valid(row)).map(|of| of.value(row))
}

fn instant(of: Option<&PrimitiveArray<TimestampMicrosecondType>>, row: usize) -> Option<i64> {
    of.filter(|of| of.is_valid(row)).map(|of| of.value(row))
}
