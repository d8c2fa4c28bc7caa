//! The rows that `costs` commits.

use std::sync::Arc;

use analysis::money::{AMOUNT_SCALE, Charged};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;

use super::params::Params;
use super::read::{Call, Priced};
use super::totals::{Stretch, Sums, Totals};
use crate::tables::columns::{
    column, instants, of_sources, some_text, source, text, version, whole, with_unit,
};
use crate::tables::rows::{AMOUNT_PRECISION, Rows, Table, amounts};

/// What all is told by where nothing tells it apart.
pub(super) const ALL: &str = "all";

fn money(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Decimal(AMOUNT_PRECISION, AMOUNT_SCALE as u8), true, about)
}

fn currency() -> ColumnSpec {
    text("currency", "The currency of the amounts")
}

fn some_time(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Timestamp, true, about)
}

fn tokens(name: &str, about: &str) -> ColumnSpec {
    with_unit(whole(name, about), "tokens")
}

pub(super) fn calls_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("call_id", "The call; empty where it has no name"),
        some_time("at", "When it arrived"),
        some_text("provider", "Who ran the model"),
        some_text("model", "The model"),
        some_text("listed_as", "The model as the list has it; of a call that failed there is none"),
        some_time("price_from", "From when on its price holds; none from ever on"),
        money("cost", "What it costs by the list; none where that is not known"),
        money("recorded_cost", "What it is said to have cost"),
        some_text("unpriced", "Why there is no price"),
        currency(),
        version(),
        some_text("listed_provider", "The provider in the price's row; null if the row names none"),
        some_text(
            "listed_tier",
            "The service tier of the price, as the list names it; null if the price has no tier",
        ),
    ];
    let about = "What calls of models cost by lists of prices";
    of_sources(params.calls_output.clone(), about, ["source", "call_id"], Some("at"), columns)
}

fn sums_spec() -> Vec<ColumnSpec> {
    vec![
        whole("calls", "Calls"),
        whole("failed_calls", "Those of them that failed"),
        whole("unpriced_calls", "Those of them that have no price"),
        tokens("input_tokens", "Tokens sent"),
        tokens("cached_tokens", "Those of them that the provider had cached"),
        tokens("output_tokens", "Tokens received"),
        money(
            "cost",
            "The cost of the calls that have a price; null if none of them has a price in any list",
        ),
        money("recorded_cost", "What they are said to have cost; none where none is"),
    ]
}

pub(super) fn spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![
        source(),
        column("at", ColumnType::Timestamp, false, "When the interval begins"),
        text("dimension", "The column by which costs are told; \"all\" of all calls together"),
        text("value", "Its value; empty of all together, and of calls that have none"),
    ];
    columns.extend(sums_spec());
    columns.extend([currency(), version()]);
    let about = "What calls of models cost by interval";
    let key = ["source", "at", "dimension", "value"];
    of_sources(params.output.clone(), about, key, Some("at"), columns)
}

pub(super) fn unpriced_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("provider", "Who ran the model; empty where the calls do not say it"),
        text("model", "The model; empty where they name none"),
        text("why", "Why there is no price"),
        whole("calls", "How many calls"),
        tokens("input_tokens", "Tokens that they sent"),
        tokens("output_tokens", "Tokens that they received"),
        some_time("first_at", "When the first of them arrived"),
        some_time("last_at", "When the last of them arrived"),
        version(),
    ];
    let about = "Calls of models that no list has a price for";
    let key = ["source", "provider", "model", "why"];
    of_sources(params.unpriced_output.clone(), about, key, None, columns)
}

pub(super) fn tickets_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source(), text("ticket_id", "The ticket")];
    columns.extend(sums_spec());
    columns.extend([
        some_time("first_at", "When the first call arrived that was made for it"),
        some_time("last_at", "When the last one did"),
        some_time("resolved_at", "When it was resolved"),
        currency(),
        version(),
    ]);
    let about = "What tickets cost in calls of models";
    of_sources(params.tickets_output.clone(), about, ["source", "ticket_id"], None, columns)
}

/// Rows of calls.
pub(super) fn calls(
    spec: &DatasetSpec,
    params: &Params,
    version: i64,
    of: &[(Call<'_>, std::result::Result<Priced<'_>, analysis::money::Unpriced>)],
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Call<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(of.iter().map(|(call, _)| get(call))))
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let priced = || of.iter().map(|(_, priced)| priced.as_ref().ok());
    let listed = |get: &dyn Fn(&Charged<'_>) -> Option<String>| -> ArrayRef {
        let rows = priced().map(|priced| priced.and_then(|of| of.by.as_ref()).and_then(get));
        Arc::new(StringArray::from_iter(rows))
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| Some(params.dataset.to_string())),
        texts(&|call| Some(call.id.unwrap_or_default().to_owned())),
        instants(of.iter().map(|(call, _)| call.at_us)),
        texts(&|call| owned(call.provider)),
        texts(&|call| owned(call.model)),
        listed(&|by| Some(by.model.to_owned())),
        instants(
            priced().map(|priced| priced.and_then(|of| of.by).and_then(|by| by.listed.from_us)),
        ),
        amounts(priced().map(|priced| priced.map(|of| of.cost)))?,
        amounts(of.iter().map(|(call, _)| call.recorded))?,
        Arc::new(StringArray::from_iter(
            of.iter().map(|(_, priced)| priced.as_ref().err().map(|why| why.as_str())),
        )),
        texts(&|_| Some(params.currency.trim().to_owned())),
        Arc::new(Int64Array::from_iter_values(of.iter().map(|_| version))),
        listed(&|by| by.listed.provider.clone()),
        listed(&|by| by.tier.map(str::to_owned)),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

impl<T> Table<'_, T> {
    fn sums(self, get: impl Fn(&T) -> &Sums) -> Result<Self> {
        self.whole(|of| get(of).calls)
            .whole(|of| get(of).failed)
            .whole(|of| get(of).unpriced)
            .whole(|of| get(of).input_tokens)
            .whole(|of| get(of).cached_tokens)
            .whole(|of| get(of).output_tokens)
            .amount(|of| get(of).known_cost())?
            .amount(|of| Some(get(of).recorded).filter(|_| get(of).recorded_calls > 0))
    }
}

/// The rows of the other outputs.
pub(super) fn rows(
    params: &Params,
    version: i64,
    by: &[String],
    totals: &Totals,
) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let mut groups: Vec<(i64, &str, &str, &Sums)> = Vec::new();
    for (column, intervals) in totals.by.iter().enumerate() {
        let name = column.checked_sub(1).and_then(|column| by.get(column));
        let name = name.map_or(ALL, String::as_str);
        for (at_us, values) in intervals {
            groups.extend(values.iter().map(|(value, sums)| (*at_us, name, &**value, sums)));
        }
    }
    groups.sort_unstable_by_key(|(at_us, name, value, _)| (*at_us, *name, *value));
    let told = Table::new(&groups, source, version)
        .time(|of| of.0)
        .text(|of| of.1.to_owned())
        .text(|of| of.2.to_owned())
        .sums(|of| of.3)?
        .text(|_| params.currency.trim().to_owned())
        .finish(spec(params))?;
    let reasons: Vec<_> = totals.reasons.iter().collect();
    let unpriced = Table::new(&reasons, source, version)
        .text(|((provider, ..), _)| provider.clone())
        .text(|((_, model, _), _)| model.clone())
        .text(|((.., why), _)| why.as_str().to_owned())
        .whole(|(_, of)| of.sums.calls)
        .whole(|(_, of)| of.sums.input_tokens)
        .whole(|(_, of)| of.sums.output_tokens)
        .some_time(|(_, of)| of.first_us)
        .some_time(|(_, of)| of.last_us)
        .finish(unpriced_spec(params))?;
    let mut tickets: Vec<(&String, &Stretch)> = totals.tickets.iter().collect();
    tickets.sort_unstable_by_key(|(ticket, _)| *ticket);
    let tickets = Table::new(&tickets, source, version)
        .text(|(ticket, _)| (*ticket).clone())
        .sums(|(_, of)| &of.sums)?
        .some_time(|(_, of)| of.first_us)
        .some_time(|(_, of)| of.last_us)
        .some_time(|(_, of)| of.resolved_us)
        .text(|_| params.currency.trim().to_owned())
        .finish(tickets_spec(params))?;
    Ok(vec![told, unpriced, tickets])
}

/// The specs of all outputs.
pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![calls_spec(params), spec(params), unpriced_spec(params), tickets_spec(params)]
}
