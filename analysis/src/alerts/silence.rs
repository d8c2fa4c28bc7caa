//! Silences: alerts that nobody is told about for a while, because somebody knows. They have their state all the same.
//!
//! A silence is never taken back but ended, by an `until` that comes earlier: what it kept quiet is then told at that instant. It is
//! silent from when it was made at the earliest, so that what came before stays as it was told.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::group::Group;
use super::{AlertError, Result, cut, is_name, no_name};

/// Silences of one tenant.
const SILENCES_MAX: usize = 1_000;
/// Longest reason, in bytes.
const REASON_MAX_BYTES: usize = 1_024;

/// What it is of, in bytes.
const GROUP_MAX_BYTES: usize = 16_384;

/// Which alerts are not told, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Its name: lower-case letters, digits, `_` and `-`, a letter first, at most 63 bytes.
    pub name: String,
    /// Alerts of these rules. Default: [], of every rule.
    #[serde(default)]
    pub rules: Vec<String>,
    /// By column the value, or the values of which one, that an alert's group must have. Default: {}, every group.
    #[serde(default)]
    pub group: BTreeMap<String, OneOf>,
    /// From then on.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: DateTime<Utc>,
    /// Up to then, and no longer at that instant.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_at: DateTime<Utc>,
}

/// A value, or several of which one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOf {
    /// This value.
    Equal(String),
    /// One of these.
    Of(Vec<String>),
}

impl OneOf {
    fn has(&self, value: &str) -> bool {
        match self {
            Self::Equal(one) => one == value,
            Self::Of(several) => several.iter().any(|one| one == value),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Of(several) if several.is_empty())
    }
}

impl Silence {
    /// Fails with what is wrong with it.
    pub fn check(&self) -> Result<()> {
        if !is_name(&self.name) {
            let what = format!("silence {:?}", cut(&self.name));
            return Err(AlertError::refused(what, "name", no_name(&self.name)));
        }
        let bad = |field: &str, says: String| {
            Err(AlertError::refused(format_args!("silence {}", self.name), field, says))
        };
        if self.rules.is_empty() && self.group.is_empty() {
            return bad(
                "rules",
                "expected a rule, or a value in `group`; found neither".to_owned(),
            );
        }
        if let Some((column, _)) = self.group.iter().find(|(_, values)| values.is_empty()) {
            return bad("group", format!("{}: expected a value, found none", cut(column)));
        }
        let bytes = |of: &OneOf| match of {
            OneOf::Equal(one) => one.len(),
            OneOf::Of(several) => several.iter().map(|one| one.len() + 1).sum(),
        };
        let found = self.group.iter().map(|(column, of)| column.len() + bytes(of)).sum::<usize>()
            + self.rules.iter().map(|rule| rule.len() + 1).sum::<usize>();
        if found > GROUP_MAX_BYTES {
            let says =
                format!("expected at most {GROUP_MAX_BYTES} bytes with `rules`, found {found}");
            return bad("group", says);
        }
        if self.until <= self.from {
            let (from, until) = (self.from, self.until);
            return bad(
                "until",
                format!("expected an instant after `from` ({from}), found {until}"),
            );
        }
        for (field, text) in [("reason", &self.reason), ("by", &self.by)] {
            if text.trim().is_empty() {
                return bad(field, "expected a text, found none".to_owned());
            }
            if text.len() > REASON_MAX_BYTES {
                let found = text.len();
                return bad(
                    field,
                    format!("expected at most {REASON_MAX_BYTES} bytes, found {found}"),
                );
            }
        }
        Ok(())
    }

    /// Whether it may match alerts of this rule.
    pub fn is_of(&self, rule: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|name| name == rule)
    }

    /// Whether it matches such a group. A column that the group has not, or that is null, matches nothing.
    fn is_of_group(&self, group: &Group) -> bool {
        self.group
            .iter()
            .all(|(column, values)| group.value(column).is_some_and(|value| values.has(value)))
    }

    /// The first instant at which it is silent, and the first at which it is not any more.
    fn window_us(&self) -> (i64, i64) {
        let from = self.from.max(self.created_at);
        (from.timestamp_micros(), self.until.timestamp_micros())
    }

    fn covers(&self, at_us: i64) -> bool {
        let (from, until) = self.window_us();
        from <= at_us && at_us < until
    }
}

/// Fails with what is wrong with the first that is, or with two of one name.
pub fn check_silences(silences: &[Silence]) -> Result<()> {
    if silences.len() > SILENCES_MAX {
        let says = format!("expected at most {SILENCES_MAX}, found {}", silences.len());
        return Err(AlertError::refused("silences", "list", says));
    }
    let mut names = BTreeSet::new();
    for silence in silences {
        silence.check()?;
        if !names.insert(&silence.name) {
            let what = format!("silence {}", silence.name);
            let says = "expected a name that no other silence has, found it twice";
            return Err(AlertError::refused(what, "name", says));
        }
    }
    Ok(())
}

/// The silences that match one alert.
#[derive(Default)]
pub(super) struct Matching<'a>(Vec<&'a Silence>);

impl<'a> Matching<'a> {
    /// Those of `of_rule` that match a group.
    pub(super) fn new(of_rule: &[&'a Silence], group: &Group) -> Self {
        Self(of_rule.iter().filter(|silence| silence.is_of_group(group)).copied().collect())
    }

    /// The one that is silent then; of several the one that lasts longest.
    pub(super) fn at(&self, at_us: i64) -> Option<&'a Silence> {
        let covering = self.0.iter().filter(|silence| silence.covers(at_us));
        covering.max_by_key(|silence| (silence.until, &silence.name)).copied()
    }

    /// The first instant from `from_us` on at which one is silent.
    pub(super) fn next_begin(&self, from_us: i64) -> Option<i64> {
        let begins = self.0.iter().filter_map(|silence| {
            let (from, until) = silence.window_us();
            let begin = from.max(from_us);
            (begin < until).then_some(begin)
        });
        begins.min()
    }

    /// The first instant from `from_us` on at which none is.
    pub(super) fn next_end(&self, from_us: i64) -> i64 {
        let mut end = from_us;
        while let Some(silence) = self.at(end) {
            end = silence.window_us().1;
        }
        end
    }
}
