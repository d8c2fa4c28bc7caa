//! Lists of prices, and what a call costs by them.
//!
//! Prices are by token, under the names that LiteLLM's list has for them: a base name, then perhaps a length of the input above which it
//! holds (`_above_200k_tokens`), then perhaps a tier of service (`_batches`, `_priority`). Of the prices whose length a call's input
//! passes the one of the greatest length holds, in it that of the call's tier, and where the tier has none the one without a tier.
//! It holds for all tokens of the call. Tokens that were read from the provider's cache or put into it, and those of reasoning, cost what
//! tokens of input and output do where nothing else is listed.

use std::collections::HashMap;

use super::amount::Amount;

/// Tokens of one kind in one call, at most: what has more was no call.
pub const TOKENS_MAX: i64 = 1_000_000_000;
/// Prices of one model at one time, at most.
const PRICES_MAX: usize = 200;
/// Most leading parts of a name such as `provider/model` that are tried as a provider.
const PARTS_MAX: usize = 4;
/// The largest price of one token that is believed, in 10^-18: a thousand.
const PRICE_MAX: i128 = 1_000 * 10i128.pow(18);

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Input,
    CacheRead,
    CacheWrite,
    Output,
    Reasoning,
}

const BASES: [(&str, What); 5] = [
    ("input_cost_per_token", What::Input),
    ("cache_read_input_token_cost", What::CacheRead),
    ("cache_creation_input_token_cost", What::CacheWrite),
    ("output_cost_per_token", What::Output),
    ("output_cost_per_reasoning_token", What::Reasoning),
];

/// The name of a price: what it is for, and of which calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceKey {
    what: What,
    /// Tokens of input that a call must have more than.
    above: i64,
    /// Empty without one.
    tier: String,
}

impl PriceKey {
    /// Reads a name; none where it is not that of a price by token.
    pub fn parse(name: &str) -> Option<Self> {
        let (rest, what) =
            BASES.iter().find_map(|(base, what)| Some((name.strip_prefix(base)?, *what)))?;
        let (above, rest) = match rest.strip_prefix("_above_") {
            Some(rest) => {
                let (thousands, rest) = rest.split_once("k_tokens")?;
                (thousands.parse::<u32>().ok()?, rest)
            }
            None => (0, rest),
        };
        let tier = match rest.strip_prefix('_') {
            Some(tier) if !tier.is_empty() => tier,
            Some(_) => return None,
            None if rest.is_empty() => "",
            None => return None,
        };
        let is_word = tier.bytes().all(|byte| byte.is_ascii_lowercase());
        is_word.then(|| Self { what, above: i64::from(above) * 1_000, tier: tier.to_owned() })
    }
}

/// The prices of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<(PriceKey, Amount)>);

impl Rates {
    /// Adds a price, or replaces the one of its name; `false` where it is none: below zero, or beyond what is believed, or one too many.
    pub fn set(&mut self, key: PriceKey, price: Amount) -> bool {
        if !(0..=PRICE_MAX).contains(&price.atto()) {
            return false;
        }
        if let Some((_, own)) = self.0.iter_mut().find(|(own, _)| *own == key) {
            *own = price;
            return true;
        }
        let has_room = self.0.len() < PRICES_MAX;
        if has_room {
            self.0.push((key, price));
        }
        has_room
    }

    /// Whether there is no price.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The price of one token of this kind, and the call's tier if the price is specific to it.
    fn of(&self, what: What, tokens: &Tokens<'_>) -> Option<(Amount, Option<&str>)> {
        let holds = self.0.iter().filter(|(key, _)| {
            let is_passed = key.above == 0 || tokens.input > key.above;
            let is_of_tier = key.tier.is_empty() || key.tier.eq_ignore_ascii_case(tokens.tier);
            key.what == what && is_passed && is_of_tier
        });
        let best = holds.max_by_key(|(key, _)| (key.above, !key.tier.is_empty()));
        best.map(|(key, price)| (*price, Some(key.tier.as_str()).filter(|tier| !tier.is_empty())))
    }

    /// What a call costs.
    pub fn charge(&self, tokens: &Tokens<'_>) -> Result<Amount, Unpriced> {
        self.charged(tokens).map(|(cost, _)| cost)
    }

    /// The cost of a call, and the tier whose prices were used.
    fn charged(&self, tokens: &Tokens<'_>) -> Result<(Amount, Option<&str>), Unpriced> {
        let read = tokens.cache_read;
        let plain = tokens.input.saturating_sub(read).saturating_sub(tokens.cache_write);
        let said = tokens.output.saturating_sub(tokens.reasoning);
        let all = [tokens.input, read, tokens.cache_write, tokens.output, tokens.reasoning];
        if all.iter().any(|count| *count < 0) {
            return Err(Unpriced::NegativeTokens);
        }
        if all.iter().any(|count| *count > TOKENS_MAX) {
            return Err(Unpriced::TooManyTokens);
        }
        if plain < 0 || said < 0 {
            return Err(Unpriced::PartsExceedWhole);
        }
        let mut cost = Amount::default();
        let mut used = None;
        for (count, what, instead) in [
            (plain, What::Input, What::Input),
            (read, What::CacheRead, What::Input),
            (tokens.cache_write, What::CacheWrite, What::Input),
            (said, What::Output, What::Output),
            (tokens.reasoning, What::Reasoning, What::Output),
        ] {
            if count > 0 {
                let price = self.of(what, tokens).map(|own| {
                    // Reasoning is output: at a tier that has a price of output and none of reasoning it costs that.
                    let of_output =
                        self.of(What::Output, tokens).filter(|(_, tier)| tier.is_some());
                    let is_older = what == What::Reasoning && own.1.is_none();
                    of_output.filter(|_| is_older).unwrap_or(own)
                });
                let price = price.or_else(|| self.of(instead, tokens));
                let (price, tier) = price.ok_or(Unpriced::NoTokenPrice)?;
                used = used.or(tier);
                cost += price.times(count).ok_or(Unpriced::TooManyTokens)?;
            }
        }
        Ok((cost, used))
    }
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens<'a> {
    /// All that were sent, those of the cache included.
    pub input: i64,
    /// Those that the provider had in its cache.
    pub cache_read: i64,
    /// Those that were put there.
    pub cache_write: i64,
    /// All that were received, those of reasoning included.
    pub output: i64,
    /// Those of reasoning.
    pub reasoning: i64,
    /// How it was served: empty, `batches`, `priority`, or what else the list knows.
    pub tier: &'a str,
}

/// Why a call has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unpriced {
    /// It names no model.
    NoModel,
    /// Its model is in no list.
    NotListed,
    /// Its model is listed, but not at its instant.
    NotThen,
    /// Several prices are listed at its instant, and it does not say which holds.
    SeveralPrices,
    /// Its model is listed in another currency.
    OtherCurrency,
    /// Its model is listed without a price for the tokens that it has.
    NoTokenPrice,
    /// It has no instant, or one too far from today.
    NoInstant,
    /// It says nothing of its tokens.
    NoTokens,
    /// It has fewer than none.
    NegativeTokens,
    /// It has more than a call can have.
    TooManyTokens,
    /// More of its tokens were cached than sent, or of reasoning than received.
    PartsExceedWhole,
}

impl Unpriced {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoModel,
        Self::NotListed,
        Self::NotThen,
        Self::SeveralPrices,
        Self::OtherCurrency,
        Self::NoTokenPrice,
        Self::NoInstant,
        Self::NoTokens,
        Self::NegativeTokens,
        Self::TooManyTokens,
        Self::PartsExceedWhole,
    ];

    /// The one that these words are of.
    pub fn named(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == words)
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoModel => "it names no model",
            Self::NotListed => "its model is not listed",
            Self::NotThen => "its model is not listed at its instant",
            Self::SeveralPrices => "several prices are listed for its instant",
            Self::OtherCurrency => "its model is listed in another currency",
            Self::NoTokenPrice => "its model is listed without a price of such tokens",
            Self::NoInstant => "it has no instant",
            Self::NoTokens => "it does not say its tokens",
            Self::NegativeTokens => "it has a negative number of tokens",
            Self::TooManyTokens => "it has more than 1,000,000,000 tokens",
            Self::PartsExceedWhole => {
                "more tokens were cached than sent, or reasoned than received"
            }
        }
    }
}

/// A row of a list: the prices of a model for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Who runs the model, where the list says it.
    pub provider: Option<String>,
    /// The first instant, in microseconds; none from ever on.
    pub from_us: Option<i64>,
    /// The first instant at which it holds no longer; none until another holds.
    pub until_us: Option<i64>,
    /// Whether it is in another currency than what is asked for.
    pub is_foreign: bool,
    /// The prices.
    pub rates: Rates,
}

impl Listed {
    fn holds_at(&self, at_us: i64) -> bool {
        self.from_us.is_none_or(|from| from <= at_us)
            && self.until_us.is_none_or(|until| at_us < until)
    }
}

/// A row, and the model's name as spelled in the list.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    model: String,
    listed: Listed,
}

/// The rows of a list, by lower-case model name.
type List = HashMap<String, Vec<Row>>;

/// Lists of prices, of which the first that has one for a call counts.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    lists: Vec<List>,
}

/// What a call costs, and by which row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charged<'a> {
    /// What it costs.
    pub cost: Amount,
    /// The model's name as the list has it.
    pub model: &'a str,
    /// The row.
    pub listed: &'a Listed,
    /// The tier whose prices were used, as spelled in the list; `None` if only prices without a tier were used.
    pub tier: Option<&'a str>,
}

impl PriceBook {
    /// Begins a list, which counts where those before it have nothing.
    pub fn begin_list(&mut self) {
        self.lists.push(List::new());
    }

    /// Adds a row to the list that was begun last.
    pub fn add(&mut self, model: &str, listed: Listed) {
        if let Some(list) = self.lists.last_mut() {
            let row = Row { model: model.to_owned(), listed };
            list.entry(model.to_lowercase()).or_default().push(row);
        }
    }

    /// Models in all lists together.
    pub fn models(&self) -> usize {
        self.lists.iter().map(List::len).sum()
    }

    /// Whether any list has the model of a call, at any time and price.
    pub fn knows(&self, provider: Option<&str>, model: &str) -> bool {
        let names = names(provider, model);
        self.lists.iter().any(|list| {
            names.iter().any(|name| {
                let found = candidates(list, name, None);
                found.iter().any(|found| *found != Err(Unpriced::NotListed))
            })
        })
    }

    /// The cost of a call. Names of models, providers and tiers are compared without case; a row spelled exactly as in the call
    /// wins over rows that differ only in case. The first list with a price wins. Within a list the order is: `provider/model`,
    /// the model among the provider's rows, the model alone. If the model itself is written `provider/model`, the part before
    /// the slash is then tried as the provider.
    pub fn charge(
        &self,
        provider: Option<&str>,
        model: &str,
        at_us: i64,
        tokens: &Tokens<'_>,
    ) -> Result<Charged<'_>, Unpriced> {
        let mut why = Unpriced::NotListed;
        let names = names(provider, model);
        for list in &self.lists {
            for found in names.iter().flat_map(|name| candidates(list, name, Some(at_us))) {
                let charged = found.and_then(|row| {
                    let (cost, tier) = row.listed.rates.charged(tokens)?;
                    Ok(Charged { cost, model: &row.model, listed: &row.listed, tier })
                });
                match charged {
                    Ok(charged) => return Ok(charged),
                    // What is said of a list that has the model says more than that the others have not.
                    Err(Unpriced::NotListed) => {}
                    Err(Unpriced::SeveralPrices) => return Err(Unpriced::SeveralPrices),
                    Err(other) => why = other,
                }
            }
        }
        Err(why)
    }

    /// Puts the rows of each model in order, once all are there.
    pub fn finish(&mut self) {
        for rows in self.lists.iter_mut().flat_map(List::values_mut) {
            rows.sort_by_key(|row| row.listed.from_us);
        }
    }

    /// The most rows that a model has in one list, and its name.
    pub fn longest(&self) -> Option<(&str, usize)> {
        let all = self.lists.iter().flatten();
        all.map(|(model, rows)| (model.as_str(), rows.len())).max_by_key(|(_, rows)| *rows)
    }
}

/// A provider and a model under which a call may be listed.
struct Name<'a> {
    provider: Option<&'a str>,
    model: &'a str,
    /// `provider/model`.
    full: Option<String>,
}

/// The names to search for a call, first as the call spells them.
fn names<'a>(provider: Option<&'a str>, model: &'a str) -> Vec<Name<'a>> {
    let provider = provider.map(str::trim).filter(|name| !name.is_empty());
    let name = |provider: Option<&'a str>, model: &'a str| Name {
        provider,
        model,
        full: provider.map(|provider| format!("{provider}/{model}")),
    };
    let mut names = vec![name(provider, model.trim())];
    let mut rest = model.trim();
    while let Some((before, after)) = rest.split_once('/').filter(|_| names.len() < PARTS_MAX) {
        if !before.is_empty() && !after.is_empty() {
            names.push(name(Some(before), after));
        }
        rest = after;
    }
    names
}

/// The rows that price a call of this name, best first. Without an instant, rows of any time.
fn candidates<'a>(
    list: &'a List,
    name: &Name<'_>,
    at_us: Option<i64>,
) -> Vec<Result<&'a Row, Unpriced>> {
    let named = name.full.as_ref().and_then(|full| written(list, full));
    let own = written(list, name.model);
    let is_of_provider = |row: &Row| {
        let own = row.listed.provider.as_deref().map(str::trim);
        own.zip(name.provider).is_some_and(|(own, asked)| own.eq_ignore_ascii_case(asked))
    };
    let of_provider: Option<Vec<&Row>> = own
        .as_ref()
        .map(|rows| rows.iter().copied().filter(|row| is_of_provider(row)).collect())
        .filter(|rows: &Vec<&Row>| !rows.is_empty());
    // What another provider takes counts only where nothing is said of its own.
    let of_any = own.filter(|_| named.is_none() && of_provider.is_none());
    [named, of_provider, of_any].into_iter().flatten().map(|rows| latest(&rows, at_us)).collect()
}

/// The rows of a model: those with exactly this spelling, or all if there are none.
fn written<'a>(list: &'a List, model: &str) -> Option<Vec<&'a Row>> {
    let rows = list.get(&model.to_lowercase())?;
    let same: Vec<&Row> = rows.iter().filter(|row| row.model == model).collect();
    Some(if same.is_empty() { rows.iter().collect() } else { same })
}

/// The row that is valid at an instant, the latest start first. Without an instant, any row.
fn latest<'a>(rows: &[&'a Row], at_us: Option<i64>) -> Result<&'a Row, Unpriced> {
    let Some(at_us) = at_us else {
        return rows.first().copied().ok_or(Unpriced::NotListed);
    };
    let holds = || rows.iter().rev().copied().filter(|row| row.listed.holds_at(at_us));
    let Some(one) = holds().find(|row| !row.listed.is_foreign) else {
        return Err(match holds().next() {
            Some(_) => Unpriced::OtherCurrency,
            None => Unpriced::NotThen,
        });
    };
    let own = holds().filter(|row| !row.listed.is_foreign);
    let mut beside = own.filter(|row| row.listed.from_us == one.listed.from_us);
    match beside.all(|other| other.listed.rates == one.listed.rates) {
        true => Ok(one),
        false => Err(Unpriced::SeveralPrices),
    }
}
