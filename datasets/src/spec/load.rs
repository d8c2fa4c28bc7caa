//! How rows are loaded into a dataset: the policy for existing keys, and how text files are written.
//!
//! A dataset stores these settings, so that later files are read like the first. The command line, HTTP and Python take the
//! same settings, under the names in [`LoadSettings::NAMES`].

use std::fmt;

use chrono_tz::Tz;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::read::{CsvOptions, DateOrder, Format, TextEncoding};

/// Most null spellings of a dataset.
pub const NULLS_MAX: usize = 32;
/// Longest null spelling, in bytes.
pub const NULL_MAX_BYTES: usize = 64;

/// What happens to a row whose key the dataset already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPolicy {
    /// The file or request is refused. Rows that repeat a key within it are all added.
    Refuse,
    /// The file or request is refused, also if a key repeats within it.
    Error,
    /// The new row replaces the old one.
    Replace,
    /// The new row is skipped.
    Skip,
    /// The new row is added next to the old one.
    Add,
}

impl KeyPolicy {
    /// All policies, by the names that users write.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("refuse", Self::Refuse),
        ("error", Self::Error),
        ("replace", Self::Replace),
        ("skip", Self::Skip),
        ("add", Self::Add),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, policy)| *policy == self);
        named.map_or("refuse", |(name, _)| *name)
    }
}

impl std::str::FromStr for KeyPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::NAMED.iter().find(|(name, _)| *name == text);
        named.map(|(_, policy)| *policy).ok_or_else(|| {
            wrong("on_conflict", text, format!("one of {}", Self::NAMED.map(|(n, _)| n).join(", ")))
        })
    }
}

/// How rows are loaded. A setting that is `None` is not stated: the reader detects it or uses the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadSettings {
    /// The policy for rows whose key exists. If it is not stated: `refuse` for datasets with a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<KeyPolicy>,
    /// The encoding of text, by its WHATWG label: `windows-1252`, `utf-16le`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The character that separates fields.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "character_or_word")]
    pub delimiter: Option<char>,
    /// The character that encloses fields.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "character_or_word")]
    pub quote: Option<char>,
    /// Whether the first record names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The mark before the fraction of a number.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "character_or_word")]
    pub decimal_mark: Option<char>,
    /// The mark between groups of three digits.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "character_or_word")]
    pub thousands_mark: Option<char>,
    /// The order of day and month in dates that do not begin with the year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_order: Option<DateOrder>,
    /// The IANA time zone of timestamps without an offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Texts that mean null, besides the empty one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nulls: Vec<String>,
}

impl LoadSettings {
    /// The names of the settings, the same on the command line (with `-`), in HTTP and in Python.
    pub const NAMES: [&'static str; 10] = [
        "on_conflict",
        "encoding",
        "delimiter",
        "quote",
        "header",
        "decimal_mark",
        "thousands_mark",
        "date_order",
        "zone",
        "null",
    ];

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a setting is called `name`.
    pub fn has(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }

    /// Sets the setting `name` from text; `null` adds a spelling.
    pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
        match name {
            "on_conflict" => self.on_conflict = Some(text.parse()?),
            "encoding" => self.encoding = Some(encoding(text)?),
            "delimiter" => self.delimiter = Some(delimiter(text)?),
            "quote" => self.quote = Some(quote(text)?),
            "header" => {
                let header = text.parse().map_err(|_| wrong("header", text, "true or false"));
                self.header = Some(header?);
            }
            "decimal_mark" => self.decimal_mark = Some(mark("decimal_mark", text, DECIMAL_MARKS)?),
            "thousands_mark" => {
                self.thousands_mark = Some(mark("thousands_mark", text, THOUSANDS_MARKS)?);
            }
            "date_order" => self.date_order = Some(text.parse()?),
            "zone" => self.zone = Some(zone(text)?.name().to_owned()),
            "null" => self.nulls.push(text.to_owned()),
            _ => return Err(wrong("setting", name, format!("one of {}", Self::NAMES.join(", ")))),
        }
        Ok(())
    }

    /// Removes the setting `name`.
    pub fn clear(&mut self, name: &str) -> Result<()> {
        match name {
            "on_conflict" => self.on_conflict = None,
            "encoding" => self.encoding = None,
            "delimiter" => self.delimiter = None,
            "quote" => self.quote = None,
            "header" => self.header = None,
            "decimal_mark" => self.decimal_mark = None,
            "thousands_mark" => self.thousands_mark = None,
            "date_order" => self.date_order = None,
            "zone" => self.zone = None,
            "null" => self.nulls.clear(),
            _ => return Err(wrong("setting", name, format!("one of {}", Self::NAMES.join(", ")))),
        }
        Ok(())
    }

    /// The stated settings, as names and values.
    pub fn stated(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<char>| value.map(shown_mark);
        let single = [
            ("on_conflict", self.on_conflict.map(|policy| policy.name().to_owned())),
            ("encoding", self.encoding.as_deref().map(canonical)),
            ("delimiter", text(&self.delimiter)),
            ("quote", text(&self.quote)),
            ("header", self.header.map(|header| header.to_string())),
            ("decimal_mark", text(&self.decimal_mark)),
            ("thousands_mark", text(&self.thousands_mark)),
            ("date_order", self.date_order.map(|order| order.to_string())),
            ("zone", self.zone.clone()),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value?)));
        single.chain(self.nulls.iter().map(|null| ("null", null.clone()))).collect()
    }

    /// Checks that every setting is valid, and that they do not conflict.
    pub fn check(&self) -> Result<()> {
        let mut again = Self::default();
        for (name, value) in self.stated() {
            again.set(name, &value)?;
        }
        let decimal = self.decimal_mark.unwrap_or('.');
        if let Some(thousands) = self.thousands_mark
            && thousands == decimal
        {
            let found = shown_mark(thousands);
            let expected = format!("a mark other than decimal_mark, which is also {found:?}");
            return Err(wrong("thousands_mark", &found, expected));
        }
        if let (Some(delimiter), Some(quote)) = (self.delimiter, self.quote)
            && delimiter == quote
        {
            let found = quote.to_string();
            return Err(wrong("quote", &found, "a character other than delimiter"));
        }
        if self.nulls.len() > NULLS_MAX {
            let found = self.nulls.len().to_string();
            return Err(wrong("number of null spellings", &found, format!("at most {NULLS_MAX}")));
        }
        match self.nulls.iter().find(|null| null.len() > NULL_MAX_BYTES) {
            Some(null) => Err(wrong("null", null, format!("at most {NULL_MAX_BYTES} bytes"))),
            None => Ok(()),
        }
    }

    /// Merges the `given` settings into these of `dataset`. A setting with two different values is an error that names both.
    /// `on_conflict` is the exception: each load may choose it.
    pub fn with(&self, given: &Self, dataset: &str) -> Result<Self> {
        self.merged(given, |name, stored, given| Error::Mismatch {
            source_name: format!("dataset {dataset}"),
            problem: format!(
                "{name} {given:?} was given, and the dataset stores {name} {stored:?}; leave the \
                 option out, or change what is stored with `colonnade alter {dataset} --set {name}={given}`"
            ),
        })
    }

    /// The same for the settings of a spec, by which `dataset` is to be created.
    pub fn of_spec_with(&self, given: &Self, dataset: &str) -> Result<Self> {
        self.merged(given, |name, stored, given| Error::Mismatch {
            source_name: format!("spec of {dataset}"),
            problem: format!(
                "{name} {given:?} was given, and the spec states {name} {stored:?}; leave the option out, or \
                 change the spec"
            ),
        })
    }

    fn merged(
        &self,
        given: &Self,
        differs: impl Fn(&str, String, String) -> Error,
    ) -> Result<Self> {
        let (stored, wanted) = (self.stated(), given.stated());
        for (name, value) in wanted.iter().filter(|(name, _)| *name != "on_conflict") {
            let mut known = stored.iter().filter(|(of, _)| of == name).map(|(_, value)| value);
            if *name == "null" {
                let all: Vec<&str> = known.map(String::as_str).collect();
                if !all.is_empty() && !all.contains(&value.as_str()) {
                    return Err(differs("null", all.join(", "), value.clone()));
                }
            } else if let Some(other) = known.find(|known| *known != value) {
                return Err(differs(name, other.clone(), value.clone()));
            }
        }
        let merged = Self {
            on_conflict: given.on_conflict.or(self.on_conflict),
            encoding: self.encoding.clone().or_else(|| given.encoding.clone()),
            delimiter: self.delimiter.or(given.delimiter),
            quote: self.quote.or(given.quote),
            header: self.header.or(given.header),
            decimal_mark: self.decimal_mark.or(given.decimal_mark),
            thousands_mark: self.thousands_mark.or(given.thousands_mark),
            date_order: self.date_order.or(given.date_order),
            zone: self.zone.clone().or_else(|| given.zone.clone()),
            nulls: if self.nulls.is_empty() { given.nulls.clone() } else { self.nulls.clone() },
        };
        merged.check()?;
        Ok(merged)
    }

    /// Fails if a stated setting has no effect on files of `format`, so that no option is silently ignored.
    pub fn require_used(&self, format: Format, source_name: &str) -> Result<()> {
        let has_local_times = match format {
            Format::Csv
            | Format::Ndjson
            | Format::Xlsx
            | Format::Parquet
            | Format::ArrowFile
            | Format::ArrowStream
            | Format::Xes
            | Format::EventLog => true,
            // These state what their times mean.
            Format::AzureLlm
            | Format::Mooncake
            | Format::LitellmPrices
            | Format::Nab
            | Format::Banking77
            | Format::Clinc
            | Format::Febrl
            | Format::ErMagellan => false,
        };
        let is_used = |name: &str| match name {
            "on_conflict" => true,
            "zone" => has_local_times,
            _ => format == Format::Csv,
        };
        let stated = self.stated();
        let Some((name, value)) = stated.iter().find(|(name, _)| !is_used(name)) else {
            return Ok(());
        };
        let used_by = match *name {
            "zone" => "CSV, NDJSON, Excel, Parquet, Arrow and event-log files",
            _ => "CSV files",
        };
        Err(Error::Mismatch {
            source_name: source_name.to_owned(),
            problem: format!(
                "{name} {value:?} was given, and the file is {format}; {name} is an option of \
                 {used_by}; leave it out"
            ),
        })
    }

    /// How text files are read by these settings of a dataset, for a caller who states some of them. A stated encoding applies
    /// whatever the file looks like.
    pub fn csv_options_stated(&self, stated: &Self, encoding: TextEncoding) -> CsvOptions {
        let options = self.csv_options(encoding);
        let named = stated.encoding.as_deref().and_then(TextEncoding::named);
        CsvOptions { encoding: named.unwrap_or(options.encoding), ..options }
    }

    /// How text files are read by these settings of a dataset. `encoding` applies if they have none.
    pub fn csv_options(&self, encoding: TextEncoding) -> CsvOptions {
        let byte = |character: Option<char>| character.and_then(|c| u8::try_from(c).ok());
        let stored = self.encoding.as_deref().and_then(TextEncoding::stored);
        CsvOptions {
            encoding: stored.unwrap_or(encoding),
            delimiter: byte(self.delimiter),
            quote: byte(self.quote),
            header: self.header,
            decimal_comma: self.decimal_mark == Some(','),
            thousands_mark: self.thousands_mark,
            nulls: self.nulls.clone(),
            date_order: self.date_order,
            zone: self.zone.as_deref().and_then(|name| name.parse().ok()),
        }
    }
}

impl fmt::Display for LoadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stated = self.stated();
        let stated = stated.iter().map(|(name, value)| format!("{name}={value}"));
        f.write_str(&stated.collect::<Vec<_>>().join(", "))
    }
}

/// Words for marks that a shell would require quotes for.
const MARKS: [(&str, char); 6] = [
    ("comma", ','),
    ("point", '.'),
    ("apostrophe", '\''),
    ("space", ' '),
    ("underscore", '_'),
    ("tab", '\t'),
];
const DECIMAL_MARKS: &str = ".,";
const THOUSANDS_MARKS: &str = ",.' _";

fn wrong(what: &'static str, found: &str, expected: impl Into<String>) -> Error {
    let name = found.chars().take(crate::parse::BYTES_SHOWN).collect();
    Error::Name { what, name, expected: expected.into() }
}

fn character(text: &str) -> Option<char> {
    if let Some((_, mark)) = MARKS.iter().find(|(word, _)| *word == text) {
        return Some(*mark);
    }
    let mut characters = text.chars();
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}

/// Reads a mark of a spec, as a character or by its name.
fn character_or_word<'a, D: Deserializer<'a>>(
    from: D,
) -> std::result::Result<Option<char>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let found = character(&text).map(Some);
    let words = MARKS.map(|(word, _)| word).join(", ");
    found.ok_or_else(|| {
        D::Error::custom(format!("expected a character, or one of {words}; found {text:?}"))
    })
}

fn mark(what: &'static str, text: &str, allowed: &str) -> Result<char> {
    let found = character(text).filter(|c| allowed.contains(*c));
    found.ok_or_else(|| {
        let words = MARKS.iter().filter(|(_, mark)| allowed.contains(*mark));
        let words = words.map(|(word, mark)| format!("{word} ({mark})"));
        wrong(what, text, format!("one of {}", words.collect::<Vec<_>>().join(", ")))
    })
}

fn delimiter(text: &str) -> Result<char> {
    let text = if text == "\\t" { "tab" } else { text };
    let fits = |c: &char| c.is_ascii() && !matches!(c, '"' | '\n' | '\r' | '\0');
    let expected = "one ASCII character, or tab";
    character(text).filter(fits).ok_or_else(|| wrong("delimiter", text, expected))
}

fn quote(text: &str) -> Result<char> {
    let fits = |c: &char| c.is_ascii_graphic() && !c.is_ascii_alphanumeric();
    let expected = "one character such as \" or '";
    character(text).filter(fits).ok_or_else(|| wrong("quote", text, expected))
}

fn encoding(text: &str) -> Result<String> {
    match TextEncoding::named(text.trim()) {
        Some(TextEncoding::Named(encoding)) => Ok(encoding.name().to_ascii_lowercase()),
        _ => {
            let expected = "a WHATWG encoding, such as utf-8, windows-1252, utf-16le or shift_jis";
            Err(wrong("encoding", text, expected))
        }
    }
}

/// The canonical label of an encoding, for comparisons.
fn canonical(label: &str) -> String {
    encoding(label).unwrap_or_else(|_| label.to_owned())
}

fn zone(text: &str) -> Result<Tz> {
    text.trim().parse().map_err(|_| {
        wrong("zone", text, "an IANA time zone, such as Europe/Berlin, America/New_York or UTC")
    })
}

/// A delimiter or separator in the form that its setting accepts.
pub(crate) fn shown_mark(mark: char) -> String {
    if mark == '\t' { "tab".to_owned() } else { mark.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(given: &[(&str, &str)]) -> LoadSettings {
        let mut settings = LoadSettings::default();
        given.iter().for_each(|(name, value)| settings.set(name, value).unwrap());
        settings
    }

    #[test]
    fn every_setting_can_be_parsed_from_its_text() {
        let all = settings(&[
            ("on_conflict", "replace"),
            ("encoding", "latin1"),
            ("delimiter", "tab"),
            ("quote", "'"),
            ("header", "false"),
            ("decimal_mark", "comma"),
            ("thousands_mark", "."),
            ("date_order", "dmy"),
            ("zone", "Europe/Berlin"),
            ("null", "n/a"),
        ]);
        let names: Vec<&str> = all.stated().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, LoadSettings::NAMES);
        let shown = all.stated();
        let again: Vec<_> = shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(settings(&again), all);
        let mut none = all.clone();
        LoadSettings::NAMES.iter().for_each(|name| none.clear(name).unwrap());
        assert!(none.is_empty());
        let text = toml::to_string(&all).unwrap();
        assert_eq!(toml::from_str::<LoadSettings>(&text).unwrap(), all, "{text}");
        assert!(toml::from_str::<LoadSettings>("decimal = \",\"").is_err());
        let named = "delimiter = \"tab\"\ndecimal_mark = \"comma\"\nthousands_mark = \"point\"\nquote = \"apostrophe\"";
        let named = toml::from_str::<LoadSettings>(named).unwrap();
        let text =
            [("delimiter", "tab"), ("decimal_mark", ","), ("thousands_mark", "."), ("quote", "'")];
        assert_eq!(named, settings(&text));
        let json =
            serde_json::from_str::<LoadSettings>("{\"decimal_mark\": \"comma\", \"quote\": null}");
        assert_eq!(json.unwrap(), settings(&[("decimal_mark", ",")]));
        let error = toml::from_str::<LoadSettings>("decimal_mark = \"komma\"").unwrap_err();
        assert!(
            error.to_string().contains("expected a character, or one of comma, point"),
            "{error}"
        );
    }

    #[test]
    fn an_invalid_value_of_a_setting_is_refused() {
        for (name, value, expected) in [
            ("decimal_mark", ";", "decimal_mark \";\": expected one of comma (,), point (.)"),
            ("zone", "Europe/Berln", "zone \"Europe/Berln\": expected an IANA time zone"),
            ("date_order", "ymd", "date_order \"ymd\": expected dmy or mdy"),
            ("header", "yes", "header \"yes\": expected true or false"),
            ("delimiter", "ab", "expected one ASCII character, or tab"),
            ("quote", "a", "expected one character such as"),
            ("encoding", "klingon", "expected a WHATWG encoding"),
            ("on_conflict", "ignore", "one of refuse, error, replace, skip, add"),
            ("colour", "red", "setting \"colour\": expected one of on_conflict, encoding"),
        ] {
            let error = LoadSettings::default().set(name, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let same = settings(&[("thousands_mark", ".")]);
        let error = same.check().unwrap_err().to_string();
        assert!(error.contains("a mark other than decimal_mark"), "{error}");
        settings(&[("thousands_mark", "."), ("decimal_mark", ",")]).check().unwrap();
    }

    #[test]
    fn a_contradiction_names_both_values() {
        let stored = settings(&[("decimal_mark", ","), ("null", "n/a"), ("null", "-")]);
        let error = |given: &[(&str, &str)]| {
            stored.with(&settings(given), "orders").unwrap_err().to_string()
        };
        let says = error(&[("decimal_mark", ".")]);
        assert!(
            says.contains(
                "decimal_mark \".\" was given, and the dataset stores decimal_mark \",\""
            ) && says.contains("colonnade alter orders --set decimal_mark=."),
            "{says}"
        );
        assert!(error(&[("null", "none")]).contains("stores null \"n/a, -\""));
        let same = [("decimal_mark", "comma"), ("null", "-"), ("zone", "Asia/Tokyo")];
        let merged = stored.with(&settings(&same), "orders").unwrap();
        assert_eq!(merged, LoadSettings { zone: Some("Asia/Tokyo".to_owned()), ..stored.clone() });
        let says = stored.of_spec_with(&settings(&[("decimal_mark", ".")]), "orders").unwrap_err();
        let says = says.to_string();
        assert!(
            says.starts_with("spec of orders: decimal_mark \".\" was given, and the spec states"),
            "{says}"
        );
        assert!(!says.contains("alter"), "{says}");
        // Each load may choose its key policy.
        let policy = |name: &str| settings(&[("on_conflict", name)]);
        let merged = policy("skip").with(&policy("replace"), "orders").unwrap();
        assert_eq!(merged.on_conflict, Some(KeyPolicy::Replace));
    }

    #[test]
    fn an_option_that_a_format_does_not_use_is_refused() {
        let refused = |name: &str, value: &str, format| {
            settings(&[(name, value)]).require_used(format, "a.file").map_err(|e| e.to_string())
        };
        assert_eq!(refused("decimal_mark", ",", Format::Csv), Ok(()));
        assert_eq!(refused("zone", "Asia/Tokyo", Format::Ndjson), Ok(()));
        assert_eq!(refused("on_conflict", "skip", Format::Parquet), Ok(()));
        let says = refused("decimal_mark", ",", Format::Parquet).unwrap_err();
        assert!(says.contains("the file is parquet; decimal_mark is an option of CSV"), "{says}");
        for format in [Format::Xlsx, Format::Parquet, Format::ArrowFile, Format::ArrowStream] {
            assert_eq!(refused("zone", "Asia/Tokyo", format), Ok(()), "{format}");
        }
        let says = refused("zone", "Asia/Tokyo", Format::Nab).unwrap_err();
        assert!(says.contains("zone is an option of CSV, NDJSON, Excel, Parquet"), "{says}");
    }
}
