//! Days off, which business days exclude.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::NaiveDate;
use opening_hours::localization::Country;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Days off: dates, and the public holidays of countries, nationwide ones from 2000 on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Holidays {
    /// As they were stated.
    stated: Vec<String>,
    /// Rising.
    days: Arc<[NaiveDate]>,
}

impl Holidays {
    /// Dates in any order.
    pub fn of(days: impl IntoIterator<Item = NaiveDate>) -> Self {
        let days: Vec<NaiveDate> = days.into_iter().collect();
        Self { stated: days.iter().map(NaiveDate::to_string).collect(), days: ordered(days) }
    }

    /// Rising.
    pub(super) fn days(&self) -> &[NaiveDate] {
        &self.days
    }
}

fn ordered(mut days: Vec<NaiveDate>) -> Arc<[NaiveDate]> {
    days.sort_unstable();
    days.dedup();
    days.into()
}

impl TryFrom<Vec<String>> for Holidays {
    type Error = String;

    fn try_from(stated: Vec<String>) -> Result<Self, String> {
        let mut days = Vec::new();
        for text in &stated {
            match (text.parse::<NaiveDate>(), text.parse::<Country>()) {
                (Ok(date), _) => days.push(date),
                (_, Ok(country)) => days.extend(country.holidays().get_public().iter()),
                _ => {
                    return Err(format!(
                        "expected a date such as \"2026-12-25\" or the code of a country such as \"DE\" (ISO 3166), found {text:?}"
                    ));
                }
            }
        }
        Ok(Self { stated, days: ordered(days) })
    }
}

impl From<Holidays> for Vec<String> {
    fn from(holidays: Holidays) -> Self {
        holidays.stated
    }
}

impl JsonSchema for Holidays {
    fn schema_name() -> Cow<'static, str> {
        "Holidays".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holidays(stated: &[&str]) -> Result<Holidays, String> {
        Holidays::try_from(stated.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>())
    }

    #[test]
    fn countries_and_dates_are_days_off() {
        let of = holidays(&["DE", "2026-12-24"]).unwrap();
        let in_2026: Vec<String> = of
            .days()
            .iter()
            .map(NaiveDate::to_string)
            .filter(|day| day.starts_with("2026"))
            .collect();
        // The nationwide holidays of Germany. Good Friday and Easter Monday move.
        let expected = [
            "2026-01-01",
            "2026-04-03",
            "2026-04-06",
            "2026-05-01",
            "2026-05-14",
            "2026-05-25",
            "2026-10-03",
            "2026-12-24",
            "2026-12-25",
            "2026-12-26",
        ];
        assert_eq!(in_2026, expected);
        assert_eq!(Vec::<String>::from(of), ["DE", "2026-12-24"]);
    }

    #[test]
    fn what_is_neither_a_date_nor_a_country_is_an_error() {
        for text in ["XX", "de", "2026-13-01", ""] {
            let message = holidays(&[text]).unwrap_err();
            assert!(message.ends_with(&format!("found {text:?}")), "{message}");
        }
    }
}
