//! Arguments of changes of a dataset's columns, and of what it declares.

use ::datasets::ColumnType;
use clap::Args;

use super::column_type;

/// Changes a dataset as one commit: a column, its type, the key, a setting by which rows are loaded (--set, --unset), or a
/// measure or dimension. A change of existing columns rewrites all rows, so that every reader of Delta tables finds the new
/// names and types. Older versions stay as they are.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true))]
#[command(group = clap::ArgGroup::new("described"))]
pub struct Alter {
    /// The dataset
    pub dataset: String,
    /// Add a column, which the rows that are there leave empty: "price=decimal(12,2)"
    #[arg(long, groups = ["change", "described"], value_name = "COLUMN=TYPE", value_parser = column_type)]
    pub add: Option<(String, ColumnType)>,
    /// Call a column otherwise, also where the key, the time column and checks name it
    #[arg(long, group = "change", value_name = "COLUMN=NAME", value_parser = column_name)]
    pub rename: Option<(String, String)>,
    /// Drop a column, and the checks that name it
    #[arg(long, group = "change", value_name = "COLUMN")]
    pub drop: Option<String>,
    /// Give a column another type; a value that would be another one is an error that names its row
    #[arg(long, group = "change", value_name = "COLUMN=TYPE", value_parser = column_type)]
    pub retype: Option<(String, ColumnType)>,
    /// Say which columns name a row, where the dataset has no key; a row without a value there, or with another's, is an error
    #[arg(long, group = "change", value_name = "COLUMN", value_delimiter = ',')]
    pub key: Vec<String>,
    /// What the retyped column's values are made from, as in SQL: "round(price, 2)"; what is lost then is meant
    #[arg(long, value_name = "EXPRESSION", requires = "retype")]
    pub using: Option<String>,
    /// Declare a measure, in the place of one of its name: "cost_per_call=sum(cost) / count(*)"
    #[arg(long, groups = ["change", "described"], value_name = "NAME=EXPRESSION", value_parser = declared)]
    pub measure: Option<(String, String)>,
    /// Declare a dimension, in the place of one of its name: "day=date_trunc('day', at)"
    #[arg(long, groups = ["change", "described"], value_name = "NAME=EXPRESSION", value_parser = declared)]
    pub dimension: Option<(String, String)>,
    /// Take a measure or dimension away
    #[arg(long, group = "change", value_name = "NAME")]
    pub undeclare: Option<String>,
    /// Change how rows are loaded: on_conflict, evolution, encoding, delimiter, quote, header, decimal_mark, thousands_mark,
    /// date_order, zone, null
    #[arg(long, group = "change", value_name = "NAME=VALUE", value_parser = set)]
    pub set: Vec<(String, String)>,
    /// Remove such a setting
    #[arg(long, group = "change", value_name = "NAME")]
    pub unset: Vec<String>,
    /// The unit of the values of what is added or declared: ms, usd, …
    #[arg(long, requires = "described")]
    pub unit: Option<String>,
    /// What is added or declared, in one line
    #[arg(long, value_name = "TEXT", requires = "described")]
    pub description: Option<String>,
    /// How a measure is to be shown [default: number]
    #[arg(long, requires = "measure", conflicts_with_all = ["add", "rename", "drop", "retype", "key", "dimension", "undeclare"], value_parser = ["number", "percent", "currency"])]
    pub format: Option<String>,
    /// Digits behind the point that a measure is to be shown with
    #[arg(long, requires = "measure", conflicts_with_all = ["add", "rename", "drop", "retype", "key", "dimension", "undeclare"], value_name = "DIGITS")]
    pub decimals: Option<u8>,
    /// Say what it would come to, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Reads `price=unit_price`.
fn column_name(text: &str) -> Result<(String, String), String> {
    let (column, name) =
        text.split_once('=').ok_or("expected COLUMN=NAME, such as \"menge=quantity\"")?;
    Ok((column.trim().to_owned(), name.trim().to_owned()))
}

/// Reads `zone=Europe/Berlin`.
fn set(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("expected NAME=VALUE, such as zone=Europe/Berlin")?;
    Ok((name.trim().replace('-', "_"), value.to_owned()))
}

/// Reads `cost_per_call=sum(cost) / count(*)`.
fn declared(text: &str) -> Result<(String, String), String> {
    let (name, expression) = text
        .split_once('=')
        .ok_or("expected NAME=EXPRESSION, such as \"cost_per_call=sum(cost) / count(*)\"")?;
    Ok((name.trim().to_owned(), expression.trim().to_owned()))
}
