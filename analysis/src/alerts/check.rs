//! What is wrong with a rule, as far as the rule alone shows it: a wrong form, fields that contradict each other, and what could never
//! fire.

use super::rule::{Clear, Rule};
use super::span::Span;
use super::{AlertError, Result, cut, is_name, no_name, template};

/// Longest SQL text of a rule, in bytes.
const SQL_MAX_BYTES: usize = 8 << 10;
/// Longest summary, in bytes.
const SUMMARY_MAX_BYTES: usize = 1_024;
/// Columns that tell alerts of a rule apart.
const BY_MAX: usize = 8;
/// Steps of escalation.
const ESCALATE_MAX: usize = 8;
/// Labels of a rule.
const LABELS_MAX: usize = 32;
/// Longest text of a label, in bytes.
const LABEL_MAX_BYTES: usize = 256;
/// Longest name of a dataset or column, in bytes.
const IDENTIFIER_MAX_BYTES: usize = 63;

/// What is true of no row, without blanks and brackets.
const NEVER_TRUE: [&str; 6] = ["false", "null", "nottrue", "1=0", "0=1", "1<>1"];

impl Rule {
    /// Fails with what is wrong with it.
    pub fn check(&self) -> Result<()> {
        if !is_name(&self.name) {
            let what = format!("alert {:?}", cut(&self.name));
            return Err(AlertError::refused(what, "name", no_name(&self.name)));
        }
        if !is_identifier(&self.dataset) {
            return Err(self.bad("dataset", no_identifier("the name of a dataset", &self.dataset)));
        }
        self.check_columns()?;
        self.check_sql()?;
        match self.freshness {
            Some(freshness) => self.check_freshness(freshness)?,
            None => self.check_times()?,
        }
        self.check_telling()?;
        self.check_summary()
    }

    fn bad(&self, field: &str, says: impl Into<String>) -> AlertError {
        AlertError::refused(format_args!("alert {}", self.name), field, says)
    }

    fn check_columns(&self) -> Result<()> {
        if self.by.len() > BY_MAX {
            let says = format!("expected at most {BY_MAX} columns, found {}", self.by.len());
            return Err(self.bad("by", says));
        }
        for (field, columns) in [("by", Some(&self.by)), ("group", self.group.as_ref())] {
            let columns = columns.map_or(&[][..], Vec::as_slice);
            for (index, column) in columns.iter().enumerate() {
                if !is_identifier(column) {
                    return Err(self.bad(field, no_identifier("the name of a column", column)));
                }
                if columns.iter().take(index).any(|other| other == column) {
                    return Err(self
                        .bad(field, format!("expected each column once, found {column:?} twice")));
                }
                if field == "group" && !self.by.contains(column) {
                    let says =
                        format!("expected columns of `by` ({}), found {column:?}", shown(&self.by));
                    return Err(self.bad(field, says));
                }
            }
        }
        match &self.time {
            Some(time) if !is_identifier(time) => {
                Err(self.bad("time", no_identifier("the name of a column", time)))
            }
            _ => Ok(()),
        }
    }

    fn check_sql(&self) -> Result<()> {
        let texts = [("where", &self.only), ("condition", &self.condition), ("value", &self.value)];
        for (field, text) in texts {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(self.bad(field, "expected an SQL expression, found an empty text"));
            }
            if text.len() > SQL_MAX_BYTES {
                let says = format!("expected at most {SQL_MAX_BYTES} bytes, found {}", text.len());
                return Err(self.bad(field, says));
            }
            if field != "value" && is_never_true(text) {
                let says = format!(
                    "expected what may be true of a row, found {:?}: the rule would never fire",
                    cut(text)
                );
                return Err(self.bad(field, says));
            }
        }
        match (&self.condition, self.freshness) {
            (None, None) => Err(self.bad(
                "condition",
                "expected an SQL expression, or `freshness` instead of it; found neither",
            )),
            (Some(_), Some(_)) => {
                Err(self.bad("freshness", "expected either `condition` or `freshness`, found both"))
            }
            _ => Ok(()),
        }
    }

    fn check_freshness(&self, freshness: Span) -> Result<()> {
        if freshness == Span::ZERO {
            return Err(
                self.bad("freshness", "expected more than 0, found 0: no dataset is so fresh")
            );
        }
        if self.only.is_some() && self.time.is_none() {
            return Err(self.bad(
                "where",
                "expected `time` with it: without, commits count and no rows; found none",
            ));
        }
        let others = [
            ("by", !self.by.is_empty()),
            ("value", self.value.is_some()),
            ("for", self.hold != Span::ZERO),
            ("clear", self.clear != Clear::default()),
            ("expires", self.expires.is_some()),
            ("stands", self.stands),
        ];
        match others.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(self.bad(
                field,
                "expected none beside `freshness`, which looks at the dataset as a whole",
            )),
            None => Ok(()),
        }
    }

    fn check_times(&self) -> Result<()> {
        match (self.clear, self.expires) {
            (Clear::Never, None) => Err(self.bad(
                "expires",
                "expected a duration, since `clear` is \"never\"; found none: the alert would fire for ever",
            )),
            (_, Some(Span::ZERO)) => Err(self.bad("expires", "expected more than 0, found 0")),
            (_, Some(expires)) if self.hold > expires => {
                let hold = self.hold;
                let says = format!("expected at most `expires` ({expires}), found {hold}: the alert would be over before it fires");
                Err(self.bad("for", says))
            }
            _ => Ok(()),
        }
    }

    fn check_telling(&self) -> Result<()> {
        if let Some(repeat) = self.repeat.filter(|repeat| *repeat < Span::MINUTE) {
            let says = format!("expected at least {}, found {repeat}", Span::MINUTE);
            return Err(self.bad("repeat", says));
        }
        if self.escalate.len() > ESCALATE_MAX {
            let says =
                format!("expected at most {ESCALATE_MAX} steps, found {}", self.escalate.len());
            return Err(self.bad("escalate", says));
        }
        let (mut last, mut severity) = (Span::ZERO, self.severity);
        for step in &self.escalate {
            if step.after <= last {
                let says =
                    format!("expected a step `after` more than {last}, found {}", step.after);
                return Err(self.bad("escalate", says));
            }
            if step.severity <= severity {
                let says = format!("expected a severity above {severity}, found {}", step.severity);
                return Err(self.bad("escalate", says));
            }
            (last, severity) = (step.after, step.severity);
        }
        if self.labels.len() > LABELS_MAX {
            let says = format!("expected at most {LABELS_MAX}, found {}", self.labels.len());
            return Err(self.bad("labels", says));
        }
        for (name, text) in &self.labels {
            if !is_identifier(name) {
                return Err(self.bad("labels", no_identifier("the name of a label", name)));
            }
            if text.len() > LABEL_MAX_BYTES {
                let found = text.len();
                let says =
                    format!("{name}: expected at most {LABEL_MAX_BYTES} bytes, found {found}");
                return Err(self.bad("labels", says));
            }
        }
        Ok(())
    }

    fn check_summary(&self) -> Result<()> {
        if self.summary.len() > SUMMARY_MAX_BYTES {
            let found = self.summary.len();
            let says = format!("expected at most {SUMMARY_MAX_BYTES} bytes, found {found}");
            return Err(self.bad("summary", says));
        }
        let names = template::names(&self.summary).map_err(|says| self.bad("summary", says))?;
        for name in names {
            let is_value = name == "value" && self.value.is_some();
            if is_value || self.by.iter().any(|column| column == name) {
                continue;
            }
            let hint = match name == "value" {
                true => ", but the rule has no `value`",
                false => "",
            };
            let known = self.value.iter().map(|_| "value");
            let known: Vec<&str> = known.chain(self.by.iter().map(String::as_str)).collect();
            let says = match known.is_empty() {
                true => format!("expected no names in braces, found {:?}{hint}", cut(name)),
                false => {
                    let known = known.join(", ");
                    format!("expected in braces one of {known}, found {:?}{hint}", cut(name))
                }
            };
            return Err(self.bad("summary", says));
        }
        Ok(())
    }
}

fn shown(columns: &[String]) -> String {
    match columns.is_empty() {
        true => "it has none".to_owned(),
        false => columns.join(", "),
    }
}

/// Whether it is a name as datasets and their columns have it.
fn is_identifier(name: &str) -> bool {
    name.len() <= IDENTIFIER_MAX_BYTES
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn no_identifier(what: &str, found: &str) -> String {
    format!(
        "expected {what}: 1 to {IDENTIFIER_MAX_BYTES} lower-case letters, digits and `_`, a letter first; found {:?}",
        cut(found)
    )
}

/// Whether an expression is written so that it is true of no row. What only a plan would show is not looked for.
fn is_never_true(sql: &str) -> bool {
    let letters = sql.chars().filter(|c| !c.is_whitespace() && !"();".contains(*c));
    let bare: String = letters.flat_map(char::to_lowercase).take(16).collect();
    NEVER_TRUE.contains(&bare.as_str())
}
