//! Grants: which datasets somebody sees, which of their rows, and which columns only behind a mask.
//!
//! A [`Principal`](crate::Principal) carries its grants below the door. Who has all of a tenant has [`Grants::all`]. Everyone else
//! is refused wherever a place does not say that it obeys grants ([`Principal::require`](crate::Principal::require)); those that do
//! read through a session, which wraps each table before a plan is made (`session/guard`), and a catalogue that has no more in it.
//! What does not hold any more (a mask of a column that was renamed) shows nothing rather than too much.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use datasets::{ColumnType, DatasetName, DatasetSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::catalog::DatasetEntry;
use crate::derived::{AUDIT, is_kept_name};
use crate::error::{Code, Error, Result};
use crate::lake::ColumnIds;
use crate::session::{asks_for_time, claims_in, keep_known};

/// The name that stands for all datasets that no other grant names.
pub(crate) const OTHERS: &str = "*";
/// Longest condition on rows.
const ROWS_MAX_BYTES: usize = 4_096;
/// Shortest salt: with a shorter one, hashes of all that a column may hold could be tried.
const SALT_MIN_BYTES: usize = 16;
/// What is behind the digest of grants by which what was done is not seen.
const WITHOUT_AUDIT: &str = "-audit";

/// What a principal may see of its tenant. Cloning is free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Grants {
    limited: Option<Arc<Limited>>,
    /// Whether what was done by whom is not seen, whatever else is.
    is_without_audit: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Limited {
    set: GrantSet,
    claims: BTreeMap<String, Claim>,
    digest: String,
    digest_without_audit: String,
}

/// Grants of somebody as they are kept for what is done later.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    limited: Option<(GrantSet, BTreeMap<String, Claim>)>,
    without_audit: bool,
}

impl From<Grants> for Kept {
    fn from(grants: Grants) -> Self {
        let limited = grants.limited.map(|limited| (limited.set.clone(), limited.claims.clone()));
        Self { limited, without_audit: grants.is_without_audit }
    }
}

impl TryFrom<Kept> for Grants {
    type Error = Error;

    fn try_from(kept: Kept) -> Result<Self> {
        let grants = match kept.limited {
            None => Self::all(),
            Some((set, claims)) => Self::limited(set, claims)?,
        };
        Ok(Self { is_without_audit: kept.without_audit, ..grants })
    }
}

/// Grants as they are written down, for everyone who has them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSet {
    /// What `hash` mixes into values, so that nobody who guesses one can check the guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// By the name of a dataset; `*` is for all that are not named. Where of some only a part is seen, it is for none that Colonnade
    /// fills by itself: these may have in them what is kept back of others.
    #[serde(default)]
    pub datasets: BTreeMap<String, Grant>,
}

/// What may be seen of one dataset. By default all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// A condition in SQL on the columns as they are stored; `claim.NAME` is what is known of the one who asks: where
    /// nothing is, no row is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Columns that are not shown as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masks: BTreeMap<String, Mask>,
}

/// What is shown instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mask {
    /// Nothing: the column is not there.
    Hide,
    /// A text by which equal values are still equal: 32 hexadecimal digits of SHA-256 over salt and value.
    Hash,
    /// The last four letters of a text behind `…`; of one with fewer than eight, `…` alone.
    LastFour,
    /// The begin of the range that a number is in, by the width of the ranges.
    Bucket(u64),
    /// The begin of the span that an instant or day is in, by its microseconds.
    Span(u64),
}

/// Something that is known of a principal, from its key or token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Claim {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

impl Mask {
    /// Whether values of a column of this type can be shown behind it.
    fn fits(self, kind: &ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Self::Hide => true,
            Self::Hash | Self::LastFour => matches!(kind, T::Text),
            Self::Bucket(_) => {
                matches!(kind, T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Decimal(..))
            }
            Self::Span(_) => matches!(kind, T::Timestamp),
        }
    }
}

impl FromStr for Mask {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const SPANS: [(char, u64); 4] =
            [('s', 1_000_000), ('m', 60_000_000), ('h', 3_600_000_000), ('d', 86_400_000_000)];
        let wide = |width: &str| {
            let unit = SPANS.iter().find(|(unit, _)| width.ends_with(*unit));
            let number =
                width.trim_end_matches(|letter: char| unit.is_some_and(|it| it.0 == letter));
            let number = number.parse::<u64>().ok().filter(|number| *number > 0)?;
            Some(match unit {
                Some((_, micros)) => {
                    let span = number.checked_mul(*micros).filter(|span| *span <= i64::MAX as u64);
                    Self::Span(span?)
                }
                None => Self::Bucket(u64::from(u32::try_from(number).ok()?)),
            })
        };
        let mask = match text.split_once(' ') {
            None if text == "hide" => Some(Self::Hide),
            None if text == "hash" => Some(Self::Hash),
            None if text == "last-4" => Some(Self::LastFour),
            Some(("bucket", width)) => wide(width.trim()),
            _ => None,
        };
        mask.ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            bad(format!(
                "mask {shown:?}: expected hide, hash, last-4, or bucket with the width of its ranges, as `bucket 100` or `bucket 1d`"
            ))
        })
    }
}

impl TryFrom<String> for Mask {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mask> for String {
    fn from(mask: Mask) -> Self {
        match mask {
            Mask::Hide => "hide".to_owned(),
            Mask::Hash => "hash".to_owned(),
            Mask::LastFour => "last-4".to_owned(),
            Mask::Bucket(width) => format!("bucket {width}"),
            Mask::Span(micros) => format!("bucket {}s", micros / 1_000_000),
        }
    }
}

impl Claim {
    /// As a value in a condition.
    pub(crate) fn value(&self) -> ScalarValue {
        match self {
            Self::Flag(flag) => ScalarValue::Boolean(Some(*flag)),
            Self::Number(number) => ScalarValue::Int64(Some(*number)),
            Self::Text(text) => ScalarValue::Utf8(Some(text.clone())),
            Self::Texts(texts) => {
                let texts: Vec<_> =
                    texts.iter().map(|t| ScalarValue::Utf8(Some(t.clone()))).collect();
                let list = ScalarValue::new_list(&texts, &arrow::datatypes::DataType::Utf8, true);
                ScalarValue::List(list)
            }
        }
    }
}

impl Grant {
    /// Whether nothing is kept back.
    pub fn is_whole(&self) -> bool {
        self.rows.is_none() && self.masks.is_empty()
    }
}

impl GrantSet {
    /// Fails where something in it can not hold, whatever the datasets are.
    pub fn check(&self) -> Result<()> {
        let hashes = |grant: &Grant| grant.masks.values().any(|mask| *mask == Mask::Hash);
        let salt = self.salt.as_deref().unwrap_or_default();
        if self.datasets.values().any(hashes) && salt.len() < SALT_MIN_BYTES {
            return Err(bad(format!(
                "salt: expected a text of at least {SALT_MIN_BYTES} bytes where a mask is `hash`, found {}",
                salt.len()
            )));
        }
        for (name, grant) in &self.datasets {
            if name == OTHERS {
                if grant.is_whole() {
                    continue;
                }
                return Err(bad(format!(
                    "datasets.{OTHERS:?}: expected no rows and no masks: columns are other ones in each dataset"
                )));
            }
            DatasetName::new(name).map_err(|e| bad(format!("datasets: {e}")))?;
            let long = grant.rows.as_ref().map_or(0, String::len);
            if long > ROWS_MAX_BYTES {
                return Err(bad(format!(
                    "datasets.{name}.rows: expected at most {ROWS_MAX_BYTES} bytes, found {long}"
                )));
            }
        }
        Ok(())
    }

    /// The claims that conditions ask for. No others of somebody make a difference to what they see.
    pub fn claims_used(&self) -> BTreeSet<String> {
        let conditions = self.datasets.values().filter_map(|grant| grant.rows.as_deref());
        conditions.flat_map(claims_in).collect()
    }

    /// What is said of a dataset: by its name, or as one of all others, among which is nothing that may tell of what is kept back.
    fn of(&self, dataset: &DatasetName, derived: bool) -> Option<&Grant> {
        let may_tell = || self.has_parts() && (derived || is_kept_name(dataset));
        let others = || self.datasets.get(OTHERS).filter(|_| !may_tell());
        self.datasets.get(dataset.as_str()).or_else(others)
    }

    /// Whether of some dataset a part is seen.
    fn has_parts(&self) -> bool {
        self.datasets.values().any(|grant| !grant.is_whole())
    }
}

impl Grants {
    /// All of the tenant.
    pub fn all() -> Self {
        Self::default()
    }

    /// No more than `set` says, for one of whom `claims` are known.
    pub fn limited(set: GrantSet, claims: BTreeMap<String, Claim>) -> Result<Self> {
        set.check()?;
        let text = serde_json::to_vec(&(&set, &claims))
            .map_err(|e| Error::internal(format!("grants as text: {e}")))?;
        let digest = hex(&Sha256::digest(text));
        let digest_without_audit = format!("{digest}{WITHOUT_AUDIT}");
        let limited = Limited { set, claims, digest, digest_without_audit };
        Ok(Self { limited: Some(Arc::new(limited)), is_without_audit: false })
    }

    /// Whether all of the tenant is seen.
    pub fn is_all(&self) -> bool {
        self.limited.is_none()
    }

    /// The same, without what was done by whom.
    pub(crate) fn without_audit(&self) -> Self {
        Self { is_without_audit: true, ..self.clone() }
    }

    /// Whether `dataset` is that, and not seen.
    pub(crate) fn hides(&self, dataset: &DatasetName) -> bool {
        self.is_without_audit && dataset.as_str() == AUDIT
    }

    /// What tells these grants from others, to keep what was made for them apart; empty for [`Grants::all`].
    pub fn digest(&self) -> &str {
        match (&self.limited, self.is_without_audit) {
            (None, false) => "",
            (None, true) => WITHOUT_AUDIT,
            (Some(limited), false) => &limited.digest,
            (Some(limited), true) => &limited.digest_without_audit,
        }
    }

    /// Whether something of `dataset` is seen, which Colonnade fills by itself or not.
    pub(crate) fn sees(&self, dataset: &DatasetName, derived: bool) -> bool {
        let is_of = |limited: &Arc<Limited>| limited.set.of(dataset, derived).is_some();
        !self.hides(dataset) && self.limited.as_ref().is_none_or(is_of)
    }

    /// Whether all of `dataset` is seen, if it is.
    pub fn sees_whole(&self, dataset: &DatasetName) -> bool {
        let whole =
            |limited: &Arc<Limited>| limited.set.of(dataset, false).is_some_and(Grant::is_whole);
        !self.hides(dataset) && self.limited.as_ref().is_none_or(whole)
    }

    /// Whether what is seen may change with the time alone: a condition on rows has a word for it.
    pub fn asks_for_time(&self) -> bool {
        self.limited.as_ref().is_some_and(|limited| {
            let mut conditions = limited.set.datasets.values().filter_map(|it| it.rows.as_deref());
            conditions.any(asks_for_time)
        })
    }

    /// Whether columns of `dataset` are masked.
    pub fn has_masks(&self, dataset: &DatasetName) -> bool {
        self.part_of(dataset).is_some_and(|part| !part.grant.masks.is_empty())
    }

    /// What is kept back of `dataset`, which is seen.
    pub(crate) fn part_of(&self, dataset: &DatasetName) -> Option<Part<'_>> {
        let limited = self.limited.as_deref()?;
        let grant = limited.set.of(dataset, false).filter(|grant| !grant.is_whole())?;
        let salt = limited.set.salt.as_deref().unwrap_or_default();
        Some(Part { grant, claims: &limited.claims, salt })
    }

    /// The datasets that are named in them.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let limited = self.limited.as_deref().into_iter();
        limited.flat_map(|limited| limited.set.datasets.keys()).map(String::as_str)
    }
}

/// What a principal sees of a dataset, where that is not all.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) claims: &'a BTreeMap<String, Claim>,
    pub(crate) salt: &'a str,
}

impl Part<'_> {
    /// Fails where a mask does not fit the columns of today. What it says is for whoever gives the grants.
    pub(crate) fn check(&self, now: &DatasetEntry) -> Result<()> {
        let spec = &now.spec;
        let fail = |says: String| Error::user(Code::Forbidden, says);
        for (masked, mask) in &self.grant.masks {
            let Some(column) = spec.column(masked) else {
                return Err(fail(format!("it masks the column {masked:?}, and there is none")));
            };
            let renamed = now.column_ids.renamed_from(masked, spec);
            if let Some(renamed) = renamed.filter(|it| !self.grant.masks.contains_key(*it)) {
                return Err(fail(format!(
                    "it masks the column {masked:?}, and not {renamed:?}, which was called so"
                )));
            }
            let shown = String::from(*mask);
            if !mask.fits(&column.data_type) {
                let kind = &column.data_type;
                return Err(fail(format!(
                    "{shown:?} does not fit the column {masked:?} of type {kind}"
                )));
            }
            if *mask != Mask::Hash && spec.key.contains(masked) {
                return Err(fail(format!(
                    "{shown:?} does not fit the column {masked:?}, which is in the key; expected hash"
                )));
            }
            if *mask == Mask::Hide && spec.time_column.as_ref() == Some(masked) {
                return Err(fail(format!(
                    "{shown:?} does not fit the time column {masked:?}; expected bucket"
                )));
            }
        }
        Ok(())
    }

    /// The masks by the names that columns had at a version.
    pub(crate) fn masks_then(
        &self,
        now: &DatasetEntry,
        then: &DatasetSpec,
        ids_then: &ColumnIds,
    ) -> BTreeMap<String, Mask> {
        let mut masks = BTreeMap::new();
        for (column, mask) in &self.grant.masks {
            let was = now.column_ids.name_then(column, then, ids_then);
            // Also the one that was called so then, whatever became of it.
            let same = then.column(column).map(|column| column.name.as_str());
            masks.extend(was.into_iter().chain(same).map(|name| (name.to_owned(), *mask)));
        }
        masks
    }
}

/// An entry as who has these masks sees it.
pub(crate) fn seen(
    entry: &DatasetEntry,
    part: &Part<'_>,
    masks: &BTreeMap<String, Mask>,
) -> DatasetEntry {
    let mut entry = entry.clone();
    let is_masked = |column: &str| masks.contains_key(column);
    let is_hidden = |column: &str| masks.get(column) == Some(&Mask::Hide);
    let spec = &mut entry.spec;
    spec.columns.retain(|column| !is_hidden(&column.name));
    // What is computed of a value tells of it, and so do bounds that it must keep to.
    spec.partition_by.retain(|it| !is_masked(it.from.as_deref().unwrap_or(&it.column)));
    spec.validations.retain(|check| !check.columns().iter().any(|column| is_masked(column)));
    spec.relations.retain(|relation| !is_masked(&relation.column));
    keep_known(spec);
    entry.is_part = true;
    entry.masked = masks.keys().cloned().collect();
    if part.grant.rows.is_some() {
        // These tell of rows that are kept back: of how many there are, when one came, what they may hold.
        entry.rows = None;
        entry.updated_at = None;
        entry.spec.validations.clear();
    }
    entry
}

impl fmt::Debug for GrantSet {
    /// Without the salt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantSet").field("datasets", &self.datasets).finish_non_exhaustive()
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bad(problem: impl Into<String>) -> Error {
    Error::user(Code::BadInput, problem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(text: &str) -> GrantSet {
        serde_json::from_str(text).unwrap()
    }

    fn name(name: &str) -> DatasetName {
        DatasetName::new(name).unwrap()
    }

    #[test]
    fn masks_are_read_as_they_are_written() {
        for text in ["hide", "hash", "last-4", "bucket 100", "bucket 3600s"] {
            assert_eq!(String::from(text.parse::<Mask>().unwrap()), text);
        }
        assert_eq!("bucket 1d".parse::<Mask>().unwrap(), "bucket 86400s".parse().unwrap());
        for text in [
            "",
            "Hide",
            "bucket",
            "bucket 0",
            "bucket -1",
            "bucket 1w",
            "bucket 1.5",
            "last-5",
            "bucket 99999999999999999999d",
        ] {
            let error = text.parse::<Mask>().unwrap_err();
            assert!(error.to_string().contains("expected hide, hash"), "{text}: {error}");
        }
    }

    #[test]
    fn others_are_all_that_are_not_named_and_beside_a_part_none_that_tells_of_it() {
        let of = |text| Grants::limited(set(text), BTreeMap::new()).unwrap();
        let whole = of(r#"{"datasets": {"*": {}, "calls": {}}}"#);
        for seen in ["events", "events_quarantine", "calls", "runs", "embeddings"] {
            assert!(whole.sees_whole(&name(seen)) && whole.sees(&name(seen), true), "{seen}");
        }
        let text = r#"{"datasets": {"*": {}, "tickets": {"rows": "true"}, "embeddings": {}}}"#;
        let parts = of(text);
        assert!(parts.sees_whole(&name("events")) && parts.sees_whole(&name("embeddings")));
        assert!(parts.sees(&name("tickets"), false) && !parts.sees_whole(&name("tickets")));
        for kept in ["tickets_quarantine", "events_quarantine", "runs", "training_rows"] {
            assert!(!parts.sees(&name(kept), false) && !parts.sees_whole(&name(kept)), "{kept}");
        }
        assert!(parts.sees(&name("made_by_a_job"), false));
        assert!(!parts.sees(&name("made_by_a_job"), true));
        let none = of(r#"{}"#);
        assert!(!none.is_all() && !none.sees(&name("events"), false));
    }

    #[test]
    fn grants_that_differ_have_other_digests() {
        let text = r#"{"datasets": {"tickets": {"rows": "team = claim.team"}}}"#;
        let of = |team: &str| {
            let claims = [("team".to_owned(), Claim::Text(team.to_owned()))].into();
            Grants::limited(set(text), claims).unwrap().digest().to_owned()
        };
        assert_eq!(of("eu"), of("eu"));
        assert_ne!(of("eu"), of("us"));
        assert_eq!(Grants::all().digest(), "");
    }

    #[test]
    fn the_salt_is_not_printed() {
        let text = r#"{"salt": "0123456789abcdef", "datasets": {"t": {"masks": {"a": "hash"}}}}"#;
        let grants = Grants::limited(set(text), BTreeMap::new()).unwrap();
        let shown = format!("{grants:?}");
        assert!(shown.contains("Hash") && !shown.contains("0123456789abcdef"), "{shown}");
    }

    #[test]
    fn what_can_not_hold_is_refused() {
        let refused = |text: &str| set(text).check().unwrap_err().to_string();
        let hash = r#"{"salt": "short", "datasets": {"t": {"masks": {"a": "hash"}}}}"#;
        assert!(refused(hash).starts_with("salt: expected a text of at least 16 bytes"));
        let others = r#"{"datasets": {"*": {"masks": {"a": "hide"}}}}"#;
        assert!(refused(others).contains("expected no rows and no masks"));
        assert!(refused(r#"{"datasets": {"No": {}}}"#).starts_with("datasets:"));
        let long = format!(r#"{{"datasets": {{"t": {{"rows": "{}"}}}}}}"#, "x".repeat(4_097));
        assert!(refused(&long).contains("found 4097"));
        assert!(serde_json::from_str::<GrantSet>(r#"{"dataset": {}}"#).is_err());
    }
}
