//! `colonnade alter`: a column more, one less, one of another name or type, a key, or a measure or dimension.

use datasets::{ColumnSpec, ColumnType, DatasetName, DimensionSpec, MeasureFormat, MeasureSpec};
use engine::{Code, CommitLabel, Engine, Error, Principal, Reshape, Reshaped, Result};
use serde_json::json;

use super::{close, open_to_write};
use crate::cli::Alter;
use crate::config::Settings;
use crate::output::{Output, count};

/// Changes the columns of a dataset.
pub async fn alter(arguments: Alter, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let engine = open_to_write(settings, "colonnade alter").await?;
    let who = settings.principal()?;
    let control = settings.control();
    let made = make(&engine, control.as_deref(), &who, &dataset, &arguments, output).await;
    close(&engine, made).await
}

async fn make(
    engine: &Engine,
    control: Option<&str>,
    who: &Principal,
    dataset: &DatasetName,
    arguments: &Alter,
    output: &Output,
) -> Result<()> {
    let (operation, change) = change(engine, who, dataset, arguments).await?;
    let what = told(&change);
    if let Reshape::Rename { column, .. } | Reshape::Drop { column } = &change {
        jobs::require_unused(engine, control, who, dataset, Some(column)).await?;
    }
    if arguments.dry_run {
        let tried = engine.try_reshape(who, dataset, &change).await?;
        return tell(dataset, &what, &tried, true, output);
    }
    let label = CommitLabel { operation: operation.to_owned(), ..CommitLabel::default() };
    let made = engine.reshape(who, dataset, change, label).await?;
    tell(dataset, &what, &made, false, output)
}

/// What is asked for, and what that is called.
async fn change(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    arguments: &Alter,
) -> Result<(&'static str, Reshape)> {
    let Alter { add, rename, drop, retype, key, using, unit, description, .. } = arguments;
    if let Some((name, data_type)) = add {
        let column = ColumnSpec {
            name: name.clone(),
            data_type: data_type.clone(),
            nullable: true,
            unit: unit.clone(),
            description: description.clone().unwrap_or_default(),
        };
        return Ok(("add column", Reshape::Add(column)));
    }
    if let Some((column, to)) = rename.clone() {
        return Ok(("rename column", Reshape::Rename { column, to }));
    }
    if let Some(column) = drop.clone() {
        return Ok(("drop column", Reshape::Drop { column }));
    }
    if !key.is_empty() {
        return Ok(("set key", Reshape::Key(key.clone())));
    }
    if let Some((name, expression)) = arguments.measure.clone() {
        let format = match arguments.format.as_deref() {
            Some("percent") => MeasureFormat::Percent,
            Some("currency") => MeasureFormat::Currency,
            _ => MeasureFormat::Number,
        };
        let (unit, decimals) = (unit.clone(), arguments.decimals);
        let description = description.clone().unwrap_or_default();
        let measure = MeasureSpec { name, expression, unit, description, format, decimals };
        return Ok(("declare measure", Reshape::Measure(measure)));
    }
    if let Some((name, expression)) = arguments.dimension.clone() {
        let description = description.clone().unwrap_or_default();
        let dimension = DimensionSpec { name, expression, unit: unit.clone(), description };
        return Ok(("declare dimension", Reshape::Dimension(dimension)));
    }
    if let Some(name) = arguments.undeclare.clone() {
        return Ok(("undeclare", Reshape::Undeclare { name }));
    }
    if !arguments.set.is_empty() || !arguments.unset.is_empty() {
        let (set, unset) = (arguments.set.clone(), arguments.unset.clone());
        return Ok(("settings", Reshape::Settings { set, unset }));
    }
    let Some((column, to)) = retype.clone() else {
        let says = "expected one of --add, --rename, --drop, --retype, --key, --measure, --dimension, --undeclare, --set and --unset";
        return Err(Error::user(Code::BadInput, says));
    };
    let using = match using {
        None => None,
        Some(text) => Some(
            engine
                .session(who, &[])
                .await?
                .expression(dataset, text)
                .await
                .map_err(|e| e.while_doing(format_args!("--using")))?,
        ),
    };
    Ok(("retype column", Reshape::Retype { column, to, using }))
}

/// What becomes of which column.
fn told(change: &Reshape) -> String {
    let is = |data_type: &ColumnType| format!("is {data_type}");
    match change {
        Reshape::Add(column) => format!("{} was added and {}", column.name, is(&column.data_type)),
        Reshape::Rename { column, to } => format!("{column} is called {to}"),
        Reshape::Drop { column } => format!("{column} was dropped"),
        Reshape::Retype { column, to, .. } => format!("{column} {}", is(to)),
        Reshape::Key(columns) => format!("{} names each row", columns.join(", ")),
        Reshape::Measure(of) => format!("{} is {}", of.name, of.expression),
        Reshape::Dimension(of) => format!("{} is {}", of.name, of.expression),
        Reshape::Undeclare { name } => format!("{name} is declared no more"),
        Reshape::Settings { set, unset } => {
            let set = set.iter().map(|(name, value)| format!("{name} is {value}"));
            let unset = unset.iter().map(|name| format!("{name} is removed"));
            set.chain(unset).collect::<Vec<_>>().join(", ")
        }
    }
}

fn tell(
    dataset: &DatasetName,
    what: &str,
    made: &Reshaped,
    is_trial: bool,
    output: &Output,
) -> Result<()> {
    if output.is_json() {
        return output.document(&json!({
            "dataset": dataset.as_str(),
            "version": (!is_trial).then_some(made.version.0),
            "rows": made.rows,
            "checks": made.checks,
        }));
    }
    let (rows, word) = (count(made.rows), if made.rows == 1 { "row" } else { "rows" });
    let checks = match made.checks {
        0 => String::new(),
        1 => ", and 1 check with it".to_owned(),
        checks => format!(", and {checks} checks with it"),
    };
    output.line(&match (is_trial, made.rows, made.version.0.checked_sub(1)) {
        (true, _, _) => {
            format!("{dataset}: {rows} {word} would be written anew; nothing was changed")
        }
        (false, 0, _) | (false, _, None) => {
            format!("{dataset}: {what}{checks}: version {}", made.version)
        }
        (false, _, Some(before)) => format!(
            "{dataset}: {what}{checks}: {rows} {word} written anew as version {}; as it was before: {dataset}@{before}",
            made.version
        ),
    })
}
