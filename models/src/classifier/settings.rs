//! What a classifier is beside its weights, as its card holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Numbers;
use crate::card::Card;
use crate::embedder::WINDOWS_MAX;
use crate::error::{Error, Result};
use crate::evaluation::{Calibration, Threshold, confirmed_temperature};
use crate::training::Labels;

/// The fields of a card.
const LABELS: &str = "labels";
const TEMPERATURE: &str = "temperature";
const OUT_OF_SCOPE: &str = "out_of_scope";
const WINDOWS: &str = "windows";
const FIELDS: &str = "fields";
const COLUMNS: &str = "text_columns";
const NUMBERS: &str = "numbers";

/// Most fields of a row.
pub const FIELDS_MAX: usize = 16;
/// Most numbers of a row beside its texts.
pub const NUMBERS_MAX: usize = 64;

/// Labels, temperature and threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierSettings {
    /// The classes, in the order of the head's.
    pub labels: Labels,
    /// What logits are divided by before they are made probabilities.
    pub temperature: f64,
    /// What is out of scope; nothing, where there is no threshold.
    pub out_of_scope: Option<Threshold>,
    /// Windows of a text that are read.
    pub windows: usize,
    /// Texts of a row, each of which has a vector of its own: a title apart from a body. The row's vector is all of theirs.
    pub fields: usize,
    /// What its texts were called where they were learned from; none where nobody said.
    pub columns: Vec<String>,
    /// What a row has beside its texts.
    pub numbers: Numbers,
}

#[derive(Serialize, Deserialize)]
struct Written {
    labels: Vec<String>,
    temperature: f64,
    #[serde(default)]
    out_of_scope: Option<Threshold>,
    /// One in those that were written before there were more.
    #[serde(default = "one")]
    windows: usize,
    #[serde(default = "one")]
    fields: usize,
    #[serde(default, rename = "text_columns")]
    columns: Vec<String>,
    #[serde(default)]
    numbers: Numbers,
}

fn one() -> usize {
    1
}

impl ClassifierSettings {
    /// These labels, without calibration and threshold.
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            temperature: 1.0,
            out_of_scope: None,
            windows: 1,
            fields: 1,
            columns: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    /// Numbers of the vector of a row, of an encoder whose vectors have so many.
    pub fn dimension(&self, of_text: usize) -> usize {
        of_text * self.fields + self.numbers.width()
    }

    /// Takes the temperature that fits rows that were not learned from, `logits` `[rows, classes]`, if it helps by more than chance.
    /// A threshold was chosen for another temperature and is dropped.
    pub fn calibrate(&mut self, logits: &[f32], truth: &[usize]) -> Result<Calibration> {
        let found = confirmed_temperature(logits, truth, self.labels.count())?;
        (self.temperature, self.out_of_scope) = (found.temperature, None);
        Ok(found)
    }

    /// Checks the numbers.
    pub fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Config { problem });
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return fail(format!(
                "temperature: expected a number above 0, found {}",
                self.temperature
            ));
        }
        if !(1..=WINDOWS_MAX).contains(&self.windows) {
            return fail(format!("windows: expected 1 to {WINDOWS_MAX}, found {}", self.windows));
        }
        if !(1..=FIELDS_MAX).contains(&self.fields) {
            return fail(format!("fields: expected 1 to {FIELDS_MAX}, found {}", self.fields));
        }
        self.numbers.check()?;
        match self.out_of_scope {
            Some(threshold) if !threshold.least.is_finite() => {
                fail(format!("out_of_scope: expected a finite score, found {}", threshold.least))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn to_hyperparameters(&self) -> Result<BTreeMap<String, Value>> {
        self.check()?;
        let json = |value: serde_json::Result<Value>| {
            value.map_err(|e| Error::Config { problem: format!("as JSON: {e}") })
        };
        let mut found = BTreeMap::from([
            (LABELS.to_owned(), json(serde_json::to_value(self.labels.names()))?),
            (TEMPERATURE.to_owned(), json(serde_json::to_value(self.temperature))?),
            (OUT_OF_SCOPE.to_owned(), json(serde_json::to_value(self.out_of_scope))?),
            (WINDOWS.to_owned(), self.windows.into()),
            (FIELDS.to_owned(), self.fields.into()),
            (COLUMNS.to_owned(), json(serde_json::to_value(&self.columns))?),
        ]);
        // The version of a model that has none is what it was before there were any.
        if self.numbers.count() > 0 {
            found.insert(NUMBERS.to_owned(), json(serde_json::to_value(&self.numbers))?);
        }
        Ok(found)
    }

    pub(super) fn from_card(card: &Card) -> Result<Self> {
        let fields = card.hyperparameters.clone().into_iter().collect();
        let written: Written = serde_json::from_value(Value::Object(fields))
            .map_err(|e| Error::Config { problem: format!("hyperparameters: {e}") })?;
        let settings = Self {
            labels: Labels::new(written.labels)?,
            temperature: written.temperature,
            out_of_scope: written.out_of_scope,
            windows: written.windows,
            fields: written.fields,
            columns: written.columns,
            numbers: written.numbers,
        };
        settings.check()?;
        Ok(settings)
    }
}
