//! The parameters of `costs`.

use std::collections::BTreeMap;

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use super::output::ALL;
use super::read::NAME_MAX;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Lists of prices, at most.
const LISTS_MAX: usize = 16;
/// Columns by which costs are told, at most.
const BY_MAX: usize = 16;
/// Names of models that lists have otherwise, at most.
const ALIASES_MAX: usize = 10_000;
/// Bytes of the currency's name, at most.
const CURRENCY_MAX: usize = 100;
/// Shortest interval.
const INTERVAL_MIN_US: i64 = 60_000_000;

/// Which calls are priced, by what, and what is made of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each call of a model. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Datasets of prices, each with a column `model`; the first that has a price for a call counts. Default: [llm_prices].
    #[schemars(with = "Vec<String>")]
    pub prices: Vec<DatasetName>,
    /// Currency that is counted in: rows of prices whose column `currency` says another one are not taken. Default: usd.
    pub currency: String,
    /// Names of models in calls, and what lists have for them, such as {"gpt4o-prod": "gpt-4o"}. Default: {}.
    pub aliases: BTreeMap<String, String>,
    /// Model of the calls that name none; null leaves them without a price. Default: null.
    pub default_model: Option<String>,
    /// Whether calls that failed cost what their tokens do; else they cost nothing. Default: false.
    pub charge_failed: bool,
    /// Only calls of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Column of a call's name; null takes the dataset's key, or `id` where that is not one column. Default: null.
    pub id_column: Option<String>,
    /// Column of its instant; null takes the one that the dataset declares, or `at` where it declares none. Default: null.
    pub time_column: Option<String>,
    /// Column of its model. Default: model.
    pub model_column: String,
    /// Column of the tokens that it sent, those of the cache included. Default: input_tokens.
    pub input_column: String,
    /// Column of the tokens that it received, those of reasoning included. Default: output_tokens.
    pub output_column: String,
    /// Column of who ran the model; null takes `provider` where there is such a column. Default: null.
    pub provider_column: Option<String>,
    /// Column of the tokens that were read from the provider's cache; null takes `cached_tokens` where there is such a column.
    /// Default: null.
    pub cached_column: Option<String>,
    /// Column of the tokens that were put into it; null takes `cache_write_tokens` where there is such a column. Default: null.
    pub cache_write_column: Option<String>,
    /// Column of the tokens of reasoning; null takes `reasoning_tokens` where there is such a column. Default: null.
    pub reasoning_column: Option<String>,
    /// Column of how it was served, such as "batch" or "priority"; null takes `service_tier` where there is such a column.
    /// Default: null.
    pub tier_column: Option<String>,
    /// Column of how it went: what is neither "ok" nor null failed; null takes `status` where there is such a column. Default: null.
    pub status_column: Option<String>,
    /// When a call succeeded, as it stands in SQL behind WHERE; null takes those whose status is "ok" or null. Default: null.
    pub success: Option<String>,
    /// Column of what it is said to have cost, beside which that is told; null takes `cost` where there is such a column.
    /// Default: null.
    pub cost_column: Option<String>,
    /// Column of the ticket that it was made for; null takes `ticket_id` where there is such a column. Default: null.
    pub ticket_column: Option<String>,
    /// Dataset of tickets, which says which are resolved; null tells of no ticket whether it is. Default: null.
    #[schemars(with = "Option<String>")]
    pub tickets: Option<DatasetName>,
    /// Column of a ticket's name in it. Default: id.
    pub ticket_key: String,
    /// Column of the instant at which it was resolved. Default: resolved_at.
    pub resolved_column: String,
    /// Columns by whose values costs are told; null takes `provider`, `model`, `user_id`, `agent_id` and `workflow_id`, as far as there
    /// are such columns. Default: null.
    pub by: Option<Vec<String>>,
    /// Length of the intervals of costs, from 1m on: "6h", or calendar units such as "1d", "1w", "1mo", "1q", "1y". Default: 1d.
    pub interval: Interval,
    /// Time zone of calendar intervals, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Whether all calls are read, those too whose costs are known already. Default: false.
    pub full: bool,
    /// Dataset of costs by interval and value. Default: model_costs.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset with a row for each call. Default: call_costs.
    #[schemars(with = "String")]
    pub calls_output: DatasetName,
    /// Dataset of what has no price, and why. Default: unpriced_calls.
    #[schemars(with = "String")]
    pub unpriced_output: DatasetName,
    /// Dataset with a row for each ticket. Default: ticket_costs.
    #[schemars(with = "String")]
    pub tickets_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            prices: vec![dataset_name("llm_prices")],
            currency: "usd".into(),
            aliases: BTreeMap::new(),
            default_model: None,
            charge_failed: false,
            condition: None,
            id_column: None,
            time_column: None,
            model_column: "model".into(),
            input_column: "input_tokens".into(),
            output_column: "output_tokens".into(),
            provider_column: None,
            cached_column: None,
            cache_write_column: None,
            reasoning_column: None,
            tier_column: None,
            status_column: None,
            success: None,
            cost_column: None,
            ticket_column: None,
            tickets: None,
            ticket_key: "id".into(),
            resolved_column: "resolved_at".into(),
            by: None,
            interval: Interval::DAY,
            zone: Zone::UTC,
            full: false,
            output: dataset_name("model_costs"),
            calls_output: dataset_name("call_costs"),
            unpriced_output: dataset_name("unpriced_calls"),
            tickets_output: dataset_name("ticket_costs"),
        }
    }
}

impl Params {
    /// The intervals of costs.
    pub(super) fn intervals(&self) -> Grid {
        Grid::stated(self.interval, self.zone, &Holidays::default(), 0)
    }

    /// What is read.
    pub(super) fn inputs(&self) -> Vec<DatasetName> {
        let mut inputs = vec![self.dataset.clone()];
        for more in self.prices.iter().chain(&self.tickets) {
            if !inputs.contains(more) {
                inputs.push(more.clone());
            }
        }
        inputs
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let found = self.prices.len();
        if !(1..=LISTS_MAX).contains(&found) {
            let says = format!("expected 1 to {LISTS_MAX} datasets of prices, found {found}");
            return Err(bad(NAME, "prices", says));
        }
        if let Some(at) = (1..found).find(|at| self.prices[..*at].contains(&self.prices[*at])) {
            return Err(bad(NAME, "prices", format!("{} stands there twice", self.prices[at])));
        }
        if self.currency.trim().is_empty() {
            return Err(bad(NAME, "currency", "expected a currency, such as \"usd\", found none"));
        }
        if self.currency.len() > CURRENCY_MAX {
            let says =
                format!("expected at most {CURRENCY_MAX} bytes, found {}", self.currency.len());
            return Err(bad(NAME, "currency", says));
        }
        let models = self.default_model.iter().map(|name| ("default_model", name));
        let aliases = self.aliases.values().map(|name| ("aliases", name));
        if let Some((parameter, name)) = models.chain(aliases).find(|of| of.1.len() > NAME_MAX) {
            let says = format!("expected names of at most {NAME_MAX} bytes, found {}", name.len());
            return Err(bad(NAME, parameter, says));
        }
        if self.aliases.len() > ALIASES_MAX {
            let found = self.aliases.len();
            let says = format!("expected at most {ALIASES_MAX} names, found {found}");
            return Err(bad(NAME, "aliases", says));
        }
        let by = self.by.as_deref().unwrap_or_default();
        if by.len() > BY_MAX {
            let says = format!("expected at most {BY_MAX} columns, found {}", by.len());
            return Err(bad(NAME, "by", says));
        }
        if let Some(at) = (1..by.len()).find(|at| by[..*at].contains(&by[*at])) {
            return Err(bad(NAME, "by", format!("{:?} stands there twice", by[at])));
        }
        if by.iter().any(|column| column == ALL) {
            let says =
                format!("{ALL:?} is what all calls together are told by; expected another name");
            return Err(bad(NAME, "by", says));
        }
        if self.interval.mean_micros() < INTERVAL_MIN_US {
            let says = format!("expected 1m at least, found {}", self.interval);
            return Err(bad(NAME, "interval", says));
        }
        let outputs = [
            ("output", &self.output),
            ("calls_output", &self.calls_output),
            ("unpriced_output", &self.unpriced_output),
            ("tickets_output", &self.tickets_output),
        ];
        check_outputs(NAME, &outputs, &self.inputs())
    }
}
