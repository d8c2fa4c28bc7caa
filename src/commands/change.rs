//! `colonnade delete` and `colonnade update`: rows that are there are taken away or changed, as one commit.

use datasets::DatasetName;
use engine::{Code, Coming, CommitLabel, Engine, Error, Going, Principal, Result, Revision};
use serde_json::json;

use super::{close, open_to_write};
use crate::cli::{Delete, Update, Which};
use crate::config::Settings;
use crate::output::{Output, count};

/// What is to be done with the rows.
struct Change<'a> {
    /// As it stands in the dataset's history.
    name: &'static str,
    done: &'static str,
    dataset: DatasetName,
    which: &'a Which,
    /// Columns and what they are to be; rows go where there is none.
    set: Vec<(String, String)>,
}

/// Takes rows away.
pub async fn delete(arguments: Delete, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let (which, set) = (&arguments.which, Vec::new());
    Change { name: "delete", done: "deleted", dataset, which, set }.make(settings, output).await
}

/// Changes columns of rows.
pub async fn update(arguments: Update, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let set = arguments.set.iter().map(|text| assignment(text)).collect::<Result<Vec<_>>>()?;
    let which = &arguments.which;
    Change { name: "update", done: "changed", dataset, which, set }.make(settings, output).await
}

/// Reads `COLUMN = VALUE`.
fn assignment(text: &str) -> Result<(String, String)> {
    let bad = || {
        let says =
            format!("--set {text:?}: expected COLUMN = VALUE, such as \"price = price * 2\"");
        Error::user(Code::BadInput, says)
    };
    let (column, value) = text.split_once('=').ok_or_else(bad)?;
    let (column, value) = (column.trim().trim_matches('"'), value.trim());
    match column.is_empty() || value.is_empty() {
        true => Err(bad()),
        false => Ok((column.to_owned(), value.to_owned())),
    }
}

impl Change<'_> {
    async fn make(self, settings: &Settings, output: &Output) -> Result<()> {
        if self.which.condition.is_none() && !self.which.all {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "{} in {}: expected --where CONDITION, or --all for every row",
                    self.name, self.dataset
                ),
            ));
        }
        let engine = open_to_write(settings, format!("colonnade {}", self.name)).await?;
        let made = self.make_with(&engine, &settings.principal()?, output).await;
        close(&engine, made).await
    }

    async fn make_with(&self, engine: &Engine, who: &Principal, output: &Output) -> Result<()> {
        let session = engine.session(who, &[]).await?;
        let going = match &self.which.condition {
            Some(text) => Going::Where(session.condition(&self.dataset, text).await?),
            None => Going::All,
        };
        let mut set = Vec::with_capacity(self.set.len());
        for (column, value) in &self.set {
            set.push((column.clone(), session.expression(&self.dataset, value).await?));
        }
        let coming = if set.is_empty() { Coming::Nothing } else { Coming::Changed(set) };
        let revision = Revision { going, coming };
        if self.which.dry_run {
            return self.try_out(engine, who, &revision, output).await;
        }
        let label = CommitLabel { operation: self.name.to_owned(), ..CommitLabel::default() };
        let revised = engine.revise(who, &self.dataset, revision, label).await?;
        if output.is_json() {
            return output.document(&json!({
                "dataset": self.dataset.as_str(),
                "rows": revised.removed,
                "version": revised.version.0,
            }));
        }
        let (dataset, version) = (&self.dataset, revised.version);
        output.line(&match (revised.removed, version.0.checked_sub(1)) {
            (0, _) | (_, None) => {
                format!("no row of {dataset} is meant; nothing was {}", self.done)
            }
            (rows, Some(before)) => format!(
                "{} {} {} of {dataset}: version {version}; as it was before: {dataset}@{before}",
                self.done,
                count(rows),
                if rows == 1 { "row" } else { "rows" },
            ),
        })
    }

    async fn try_out(
        &self,
        engine: &Engine,
        who: &Principal,
        revision: &Revision,
        output: &Output,
    ) -> Result<()> {
        let rows = engine.try_revise(who, &self.dataset, revision).await?;
        if output.is_json() {
            let document = json!({"dataset": self.dataset.as_str(), "rows": rows, "version": null});
            return output.document(&document);
        }
        let (dataset, word) = (&self.dataset, if rows == 1 { "row" } else { "rows" });
        output.line(&format!(
            "{} {word} of {dataset} would be {}; none was",
            count(rows),
            self.done
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_assignment_is_split_at_its_first_equals_sign() {
        let read = |text| assignment(text).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(read("price = price * 2"), pair("price", "price * 2"));
        assert_eq!(read("\"is ok\"=a = b"), pair("is ok", "a = b"));
        for bad in ["price", "=1", "price=", " = "] {
            assert!(assignment(bad).unwrap_err().to_string().contains("COLUMN = VALUE"), "{bad}");
        }
    }
}
