//! Rows of a dataset as calls with their prices.

use std::sync::Arc;

use analysis::money::{Amount, Charged, Tokens, Unpriced};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::{Expr, cast, ident, lit, not, try_cast};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Error, Result, Session};
use serde::Serialize;
use serde_json::{Value, json};

use super::NAME;
use super::params::Params;
use super::prices::{self, Prices, amount_at, number};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::{check_instant, microseconds};
use crate::tables::columns::texts;
use crate::tables::input::{
    Asked, INSTANTS, InputTable, NAMES, is_name, key_or_id, optional, time_or_at,
};

/// Bytes of a name in a call that are taken, at most: of longer ones the beginning.
pub(super) const NAME_MAX: usize = 1_000;
/// What one call is believed to have cost at most, in 10^-18: sums of very many such ones are exact.
const RECORDED_MAX_ATTO: i128 = 10_i128.pow(30);
/// Columns by which costs are told, as far as they are there.
const USUAL_BY: [&str; 5] = ["provider", "model", "user_id", "agent_id", "workflow_id"];

/// The columns that are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Wanted {
    id: String,
    time: String,
    provider: Option<String>,
    cached: Option<String>,
    cache_write: Option<String>,
    reasoning: Option<String>,
    tier: Option<String>,
    status: Option<String>,
    pub(super) cost: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) by: Vec<String>,
}

/// Checks what is asked against the columns of the datasets.
pub(super) async fn check<'a>(
    session: &Session,
    params: &'a Params,
) -> Result<(InputTable<'a>, Wanted)> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    // A column of the usual name and another type is something else, or a file's that was empty.
    let is_of = |name: &str, fits: fn(&DataType) -> bool| {
        let fields = table.frame.schema().fields().iter();
        fields.filter(|field| field.name() == name).any(|field| fits(field.data_type()))
    };
    let or_usual = |asked: &Option<String>, usual: &str, fits: fn(&DataType) -> bool| {
        let found = || is_of(usual, fits).then(|| usual.to_owned());
        asked.clone().or_else(found)
    };
    let usual_by =
        || USUAL_BY.into_iter().filter(|name| is_of(name, is_name)).map(str::to_owned).collect();
    let wanted = Wanted {
        id: key_or_id(session, &params.dataset, params.id_column.as_deref()),
        time: time_or_at(session, &params.dataset, params.time_column.as_deref()),
        provider: or_usual(&params.provider_column, "provider", is_name),
        cached: or_usual(&params.cached_column, "cached_tokens", DataType::is_integer),
        cache_write: or_usual(
            &params.cache_write_column,
            "cache_write_tokens",
            DataType::is_integer,
        ),
        reasoning: or_usual(&params.reasoning_column, "reasoning_tokens", DataType::is_integer),
        tier: or_usual(&params.tier_column, "service_tier", is_name),
        status: or_usual(&params.status_column, "status", is_name),
        cost: or_usual(&params.cost_column, "cost", DataType::is_numeric),
        ticket: or_usual(&params.ticket_column, "ticket_id", is_name),
        by: params.by.clone().unwrap_or_else(usual_by),
    };
    const TOKENS: &str = "a whole number";
    let mut named: Vec<Asked<'_>> = vec![
        ("id_column", &wanted.id, NAMES, is_name),
        ("time_column", &wanted.time, INSTANTS, DataType::is_temporal),
        ("model_column", &params.model_column, NAMES, is_name),
        ("input_column", &params.input_column, TOKENS, DataType::is_integer),
        ("output_column", &params.output_column, TOKENS, DataType::is_integer),
    ];
    let some = [
        optional("provider_column", &wanted.provider, NAMES, is_name),
        optional("cached_column", &wanted.cached, TOKENS, DataType::is_integer),
        optional("cache_write_column", &wanted.cache_write, TOKENS, DataType::is_integer),
        optional("reasoning_column", &wanted.reasoning, TOKENS, DataType::is_integer),
        optional("tier_column", &wanted.tier, NAMES, is_name),
        optional("status_column", &wanted.status, NAMES, is_name),
        optional("cost_column", &wanted.cost, "a number", DataType::is_numeric),
        optional("ticket_column", &wanted.ticket, NAMES, is_name),
    ];
    named.extend(some.into_iter().flatten());
    let by = wanted.by.iter();
    named.extend(by.map(|column| -> Asked<'_> { ("by", column, NAMES, is_name) }));
    table.check_all(&named)?;
    table.check_condition(session, "success", params.success.as_deref()).await?;
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    for dataset in &params.prices {
        prices::check(session, dataset).await?;
    }
    if let Some(tickets) = &params.tickets {
        if wanted.ticket.is_none() {
            let says = "expected a column of the calls' tickets: there is no column \"ticket_id\"";
            return Err(bad(NAME, "ticket_column", says));
        }
        let tickets = InputTable::open(session, NAME, tickets).await?;
        tickets.check("ticket_key", &params.ticket_key, NAMES, is_name)?;
        let resolved = &params.resolved_column;
        tickets.check("resolved_column", resolved, INSTANTS, DataType::is_temporal)?;
    }
    Ok((table, wanted))
}

/// The calls, or `rows` of them, with the columns that [`Calls`] takes, by place.
pub(super) async fn frame(
    ctx: &RunContext,
    params: &Params,
    (mut table, wanted): (InputTable<'_>, &Wanted),
    rows: Option<DataFrame>,
) -> Result<DataFrame> {
    if let Some(rows) = rows {
        table.frame = rows;
    }
    let frame = table.only_where(ctx, params.condition.as_deref()).await?;
    let fields = frame.schema().clone();
    let text = |column: Option<&String>| match column {
        Some(column) => cast(ident(column), DataType::Utf8),
        None => lit(ScalarValue::Utf8(None)),
    };
    let none = || lit(ScalarValue::Int64(None));
    let count = |column: Option<&String>| match column {
        Some(column) => try_cast(ident(column), DataType::Int64),
        None => none(),
    };
    let cost = match &wanted.cost {
        Some(column) => number(column, fields.field_with_unqualified_name(column)?.data_type()),
        None => none(),
    };
    // An empty one says nothing.
    let status = nullif(text(wanted.status.as_ref()), lit(""));
    let failed = match &params.success {
        Some(success) => not(table.condition(ctx, success).await?.is_true()),
        None => lower(status).not_eq(lit("ok")).is_true(),
    };
    let columns: [Expr; 13] = [
        text(Some(&wanted.id)),
        cast(ident(&wanted.time), microseconds()),
        text(wanted.provider.as_ref()),
        text(Some(&params.model_column)),
        text(wanted.tier.as_ref()),
        failed,
        text(wanted.ticket.as_ref()),
        count(Some(&params.input_column)),
        count(Some(&params.output_column)),
        count(wanted.cached.as_ref()),
        count(wanted.cache_write.as_ref()),
        count(wanted.reasoning.as_ref()),
        cost,
    ];
    let by = wanted.by.iter().map(|column| text(Some(column)));
    let all = columns.into_iter().chain(by).enumerate();
    let all: Vec<Expr> = all.map(|(at, column)| column.alias(format!("column_{at}"))).collect();
    Ok(frame.select(all)?)
}

impl Wanted {
    /// Which column says what, and which is not there.
    pub(super) fn told(&self) -> Value {
        json!({
            "id": self.id,
            "time": self.time,
            "provider": self.provider,
            "cached": self.cached,
            "cache_write": self.cache_write,
            "reasoning": self.reasoning,
            "tier": self.tier,
            "status": self.status,
            "cost": self.cost,
            "ticket": self.ticket,
        })
    }
}

/// Some calls.
pub(super) struct Calls {
    pub(super) ids: StringArray,
    at: PrimitiveArray<TimestampMicrosecondType>,
    providers: StringArray,
    models: StringArray,
    tiers: StringArray,
    failed: BooleanArray,
    tickets: StringArray,
    /// Input, output, cached, put into the cache, reasoning.
    tokens: [PrimitiveArray<Int64Type>; 5],
    recorded: ArrayRef,
    by: Vec<StringArray>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) id: Option<&'a str>,
    /// None where it is not known, or too far from today.
    pub(super) at_us: Option<i64>,
    pub(super) provider: Option<&'a str>,
    /// What it names, or the model of those that name none.
    pub(super) model: Option<&'a str>,
    pub(super) ticket: Option<&'a str>,
    pub(super) is_failed: bool,
    pub(super) has_tokens: bool,
    pub(super) tokens: Tokens<'a>,
    pub(super) recorded: Option<Amount>,
}

impl Calls {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let count = |at: usize| {
            let column = batch.columns().get(at).and_then(|of| of.as_primitive_opt::<Int64Type>());
            column.cloned().ok_or_else(broken)
        };
        let at = batch.columns().get(1).and_then(|of| of.as_primitive_opt());
        Ok(Self {
            ids: texts(batch, 0)?,
            at: at.cloned().ok_or_else(broken)?,
            providers: texts(batch, 2)?,
            models: texts(batch, 3)?,
            tiers: texts(batch, 4)?,
            failed: batch.column(5).as_boolean_opt().cloned().ok_or_else(broken)?,
            tickets: texts(batch, 6)?,
            tokens: [count(7)?, count(8)?, count(9)?, count(10)?, count(11)?],
            recorded: Arc::clone(batch.columns().get(12).ok_or_else(broken)?),
            by: (13..batch.num_columns()).map(|at| texts(batch, at)).collect::<Result<_>>()?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The value by which a call is told, empty where it has none.
    pub(super) fn by(&self, column: usize, row: usize) -> &str {
        self.by.get(column).and_then(|of| name(of, row)).unwrap_or_default()
    }

    pub(super) fn call<'a>(&'a self, row: usize, params: &'a Params) -> Call<'a> {
        let at_us = self.at.is_valid(row).then(|| self.at.value(row));
        let counts = self.tokens.each_ref().map(|of| of.is_valid(row).then(|| of.value(row)));
        let [input, output, cache_read, cache_write, reasoning] =
            counts.map(Option::unwrap_or_default);
        let tier = match name(&self.tiers, row).unwrap_or_default().trim() {
            // The name of what is asked, and that of its price.
            tier if tier.eq_ignore_ascii_case("batch") => "batches",
            tier => tier,
        };
        let model = name(&self.models, row).or(params.default_model.as_deref());
        Call {
            id: name(&self.ids, row),
            at_us: at_us.filter(|at_us| check_instant(NAME, "", *at_us).is_ok()),
            provider: name(&self.providers, row),
            model: model.map(|model| params.aliases.get(model).map_or(model, String::as_str)),
            ticket: name(&self.tickets, row),
            is_failed: self.failed.is_valid(row) && self.failed.value(row),
            has_tokens: counts[..2].iter().any(Option::is_some),
            tokens: Tokens { input, cache_read, cache_write, output, reasoning, tier },
            recorded: self
                .recorded
                .is_valid(row)
                .then(|| amount_at(&self.recorded, row))
                .flatten()
                .filter(|recorded| recorded.atto().abs() <= RECORDED_MAX_ATTO),
        }
    }
}

/// A text that says something.
pub(super) fn name(of: &StringArray, row: usize) -> Option<&str> {
    let text = of.is_valid(row).then(|| of.value(row)).filter(|text| !text.is_empty())?;
    let mut end = text.len().min(NAME_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end)
}

/// The cost of a call, and the row of the list that gave it.
#[derive(Clone, Copy, Default)]
pub(super) struct Priced<'a> {
    pub(super) cost: Amount,
    /// The row; `None` for a failed call that costs nothing.
    pub(super) by: Option<Charged<'a>>,
}

impl Call<'_> {
    /// What it costs, or why that is not known.
    pub(super) fn priced<'p>(
        &self,
        prices: &'p Prices,
        params: &Params,
    ) -> std::result::Result<Priced<'p>, Unpriced> {
        if self.is_failed && !params.charge_failed {
            // Only for a listed model is it known that a failed call costs nothing.
            let is_known = self.model.is_none_or(|model| prices.book.knows(self.provider, model));
            return is_known.then(Priced::default).ok_or(Unpriced::NotListed);
        }
        let at_us = self.at_us.ok_or(Unpriced::NoInstant)?;
        let model = self.model.ok_or(Unpriced::NoModel)?;
        if !self.has_tokens {
            return Err(Unpriced::NoTokens);
        }
        let charged = prices.book.charge(self.provider, model, at_us, &self.tokens)?;
        Ok(Priced { cost: charged.cost, by: Some(charged) })
    }
}
