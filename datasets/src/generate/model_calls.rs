//! Model calls over 30 days: a working rhythm, several models with their prices, latency that grows with the
//! output, now and then a provider that fails or a model that slows down.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder, new_null_array,
};

use arrow::datatypes::DataType;

use super::random::{RowRng, weighted};
use super::rhythm::{HOUR_US, Rhythm};
use super::truth::{AnomalyKind, PlantedAnomaly, Truth};
use super::{GeneratorOptions, Rows, SPAN_DAYS, START_US, instant, timestamps};
use crate::column_type::ColumnType;
use crate::error::{Error, Result};

/// A model: who runs it, how often it is called, prices in 10^-9 US dollars per token, and its pace.
struct Model {
    provider: &'static str,
    name: &'static str,
    operation: &'static str,
    weight: f64,
    input_nano_usd: i128,
    cached_nano_usd: i128,
    output_nano_usd: i128,
    first_token_ms: f64,
    token_ms: f64,
}

const MODELS: [Model; 6] = [
    model("northwind", "aurora-large", "chat", 14.0, [3_000, 300, 15_000], 620.0, 17.0),
    model("northwind", "aurora-small", "chat", 30.0, [250, 25, 1_250], 280.0, 6.0),
    model("contoso", "summit-2", "chat", 18.0, [2_500, 1_250, 10_000], 480.0, 13.0),
    model("contoso", "summit-mini", "chat", 16.0, [150, 75, 600], 240.0, 5.0),
    model("fabrikam", "reason-1", "chat", 4.0, [15_000, 7_500, 60_000], 2_400.0, 21.0),
    model("fabrikam", "embed-3", "embedding", 18.0, [20, 20, 0], 45.0, 0.0),
];

const fn model(
    provider: &'static str,
    name: &'static str,
    operation: &'static str,
    weight: f64,
    [input_nano_usd, cached_nano_usd, output_nano_usd]: [i128; 3],
    first_token_ms: f64,
    token_ms: f64,
) -> Model {
    Model {
        provider,
        name,
        operation,
        weight,
        input_nano_usd,
        cached_nano_usd,
        output_nano_usd,
        first_token_ms,
        token_ms,
    }
}

const USERS: usize = 400;
const AGENTS: usize = 24;
const WORKFLOWS: usize = 60;
const USUAL_ERROR_RATE: f64 = 0.006;
const BURST_ERROR_RATE: f64 = 0.4;
const SLOW_FACTOR: f64 = 4.0;
/// Planted only where enough calls fall into the hours concerned.
const ROWS_MIN: u64 = 20_000;

struct Trouble {
    kind: AnomalyKind,
    /// A provider or a model.
    of: &'static str,
    from_us: i64,
    to_us: i64,
}

struct Calls {
    seed: u64,
    rhythm: Rhythm,
    row: u64,
    troubles: Vec<Trouble>,
}

pub(super) fn plan(options: &GeneratorOptions) -> (Box<dyn Rows>, Truth) {
    let mut troubles = Vec::new();
    if options.rows >= ROWS_MIN {
        for (number, day) in (4..SPAN_DAYS).step_by(5).enumerate() {
            let mut draw = RowRng::new(options.seed ^ 0xCA11, number as u64);
            let from_us = START_US + (day as i64 * 24 + 9 + draw.below(7) as i64) * HOUR_US;
            let (kind, of, hours) = if number % 2 == 0 {
                (AnomalyKind::ErrorBurst, ["northwind", "contoso", "fabrikam"][number / 2 % 3], 2)
            } else {
                (
                    AnomalyKind::LatencyRise,
                    ["summit-2", "aurora-small", "aurora-large"][number / 2 % 3],
                    3,
                )
            };
            troubles.push(Trouble { kind, of, from_us, to_us: from_us + hours * HOUR_US - 1 });
        }
    }
    let anomalies = troubles
        .iter()
        .map(|t| PlantedAnomaly {
            series: t.of.to_owned(),
            kind: t.kind,
            start: instant(t.from_us),
            end: instant(t.to_us),
        })
        .collect();
    let rhythm = Rhythm::new(SPAN_DAYS * 24, options.rows, |_| 1.0);
    let calls = Calls { seed: options.seed, rhythm, row: 0, troubles };
    (Box::new(calls), Truth { anomalies, ..Default::default() })
}

struct Columns {
    ids: StringBuilder,
    at: Vec<i64>,
    users: StringBuilder,
    agents: StringBuilder,
    workflows: StringBuilder,
    providers: StringBuilder,
    models: StringBuilder,
    operations: StringBuilder,
    input: Int64Builder,
    output: Int64Builder,
    cached: Int64Builder,
    latency: Float64Builder,
    first_token: Float64Builder,
    statuses: StringBuilder,
    errors: StringBuilder,
    costs: Decimal128Builder,
}

impl Columns {
    fn new(count: usize) -> Result<Self> {
        let text = |bytes: usize| StringBuilder::with_capacity(count, count * bytes);
        Ok(Self {
            ids: text(15),
            at: Vec::with_capacity(count),
            users: text(8),
            agents: text(8),
            workflows: text(11),
            providers: text(9),
            models: text(12),
            operations: text(9),
            input: Int64Builder::with_capacity(count),
            output: Int64Builder::with_capacity(count),
            cached: Int64Builder::with_capacity(count),
            latency: Float64Builder::with_capacity(count),
            first_token: Float64Builder::with_capacity(count),
            statuses: text(8),
            errors: text(2),
            costs: Decimal128Builder::with_capacity(count)
                .with_precision_and_scale(18, 9)
                .map_err(|e| Error::Internal(format!("cost: {e}")))?,
        })
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        let count = self.at.len();
        let blocks = ColumnType::List(Box::new(ColumnType::Int64)).arrow_type();
        vec![
            Arc::new(self.ids.finish()),
            timestamps(self.at),
            Arc::new(self.users.finish()),
            Arc::new(self.agents.finish()),
            Arc::new(self.workflows.finish()),
            Arc::new(self.providers.finish()),
            Arc::new(self.models.finish()),
            Arc::new(self.operations.finish()),
            Arc::new(self.input.finish()),
            Arc::new(self.output.finish()),
            Arc::new(self.cached.finish()),
            Arc::new(self.latency.finish()),
            Arc::new(self.first_token.finish()),
            Arc::new(self.statuses.finish()),
            Arc::new(self.errors.finish()),
            Arc::new(self.costs.finish()),
            new_null_array(&blocks, count),
            new_null_array(&DataType::Int64, count),
            new_null_array(&DataType::Int64, count),
            new_null_array(&DataType::Utf8, count),
            new_null_array(&DataType::Utf8, count),
        ]
    }
}

impl Calls {
    fn append(&mut self, columns: &mut Columns, text: &mut String) {
        let mut draw = RowRng::new(self.seed, self.row);
        let us = self.rhythm.at_us(self.row, draw.unit());
        let model = &MODELS[weighted(draw.unit(), MODELS.iter().map(|m| m.weight))];
        let mut named = |builder: &mut StringBuilder, name: std::fmt::Arguments<'_>| {
            text.clear();
            // Writing to a string can't fail.
            let _ = text.write_fmt(name);
            builder.append_value(&*text);
        };
        named(&mut columns.ids, format_args!("call-{:010}", self.row));
        // Few users make most of the calls.
        let user = (USERS as f64 * draw.unit().powi(3)) as usize;
        named(&mut columns.users, format_args!("user-{user:03}"));
        let workflow = draw.below(WORKFLOWS);
        if draw.unit() < 0.7 {
            named(&mut columns.agents, format_args!("agent-{:02}", workflow % AGENTS));
            named(&mut columns.workflows, format_args!("workflow-{workflow:02}"));
        } else {
            columns.agents.append_null();
            columns.workflows.append_null();
        }
        columns.at.push(us);
        columns.providers.append_value(model.provider);
        columns.models.append_value(model.name);
        columns.operations.append_value(model.operation);

        let input = (600.0 * (0.9 * draw.normal()).exp()) as i64 + 8;
        let cached = if draw.unit() < 0.45 { (input as f64 * 0.7 * draw.unit()) as i64 } else { 0 };
        columns.input.append_value(input);
        columns.cached.append_value(cached);
        let now = |kind, of| {
            self.troubles
                .iter()
                .any(|t| t.kind == kind && t.of == of && (t.from_us..=t.to_us).contains(&us))
        };
        let failing = now(AnomalyKind::ErrorBurst, model.provider);
        let rate = if failing { BURST_ERROR_RATE } else { USUAL_ERROR_RATE };
        let pace = if now(AnomalyKind::LatencyRise, model.name) { SLOW_FACTOR } else { 1.0 };
        let first_token = pace
            * (model.first_token_ms + 0.05 * (input - cached) as f64)
            * (0.25 * draw.normal()).exp();
        if draw.unit() < rate {
            let (status, error, latency) = match draw.below(4) {
                0 => ("timeout", "no answer in 60 s", 60_000.0),
                1 => ("rate_limited", "429 too many requests", 35.0 + 40.0 * draw.unit()),
                _ => ("error", "503 service unavailable", 80.0 + 300.0 * draw.unit()),
            };
            columns.output.append_value(0);
            columns.latency.append_value(latency);
            columns.first_token.append_null();
            columns.statuses.append_value(status);
            columns.errors.append_value(error);
            columns.costs.append_value(0);
        } else {
            let output = if model.token_ms > 0.0 {
                (180.0 * (0.8 * draw.normal()).exp()) as i64 + 1
            } else {
                0
            };
            let writing = pace * output as f64 * model.token_ms * (0.12 * draw.normal()).exp();
            columns.output.append_value(output);
            columns.first_token.append_value(first_token);
            columns.latency.append_value(first_token + writing);
            columns.statuses.append_value("ok");
            columns.errors.append_null();
            columns.costs.append_value(
                i128::from(input - cached) * model.input_nano_usd
                    + i128::from(cached) * model.cached_nano_usd
                    + i128::from(output) * model.output_nano_usd,
            );
        }
        self.row += 1;
    }
}

impl Rows for Calls {
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = Columns::new(count)?;
        let mut text = String::new();
        for _ in 0..count {
            self.append(&mut columns, &mut text);
        }
        Ok(columns.finish())
    }
}
