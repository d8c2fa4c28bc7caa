//! `addColumn`, `renameColumn`, `dropColumn`, `retypeColumn`, `setKey`: other columns for a dataset, or a key, as one commit; and
//! `declareMeasure`, `declareDimension`, `undeclare`: what is computed of them by name.

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldValue, InputValue, Object, ResolverContext, TypeRef,
};
use datasets::{ColumnSpec, ColumnType, DatasetName, DimensionSpec, MeasureFormat, MeasureSpec};
use engine::{CommitLabel, Error, Reshape, Result, Role, Version};

use super::super::resolve::{argument, nullable, part, state, text_argument};
use super::super::scalars;
use super::big;
use crate::error::bad_input;
use crate::service::in_time;

const RESULT: &str = "ChangedColumns";
pub(super) const MEASURE_FORMAT: &str = "MeasureFormat";

/// The names of formats, and what they mean.
const FORMATS: [(&str, &str, MeasureFormat); 3] = [
    ("NUMBER", "As it is.", MeasureFormat::Number),
    ("PERCENT", "A hundredfold, with `%`.", MeasureFormat::Percent),
    ("CURRENCY", "As an amount of money in its unit.", MeasureFormat::Currency),
];

/// `MeasureFormat`.
pub(crate) fn format_type() -> Enum {
    let formats = Enum::new(MEASURE_FORMAT)
        .description("How a measure is to be shown by whoever shows it; its values are the same.");
    FORMATS.iter().fold(formats, |formats, (name, about, _)| {
        formats.item(EnumItem::new(*name).description(*about))
    })
}

/// Its name in the schema.
pub(super) fn format_name(format: MeasureFormat) -> &'static str {
    FORMATS.iter().find(|(.., known)| *known == format).map_or("NUMBER", |(name, ..)| name)
}

/// Columns that were changed, or would be.
struct Changed {
    dataset: DatasetName,
    /// None where it was only tried.
    version: Option<Version>,
    rows: u64,
    checks: usize,
}

/// One of the mutations.
#[derive(Clone, Copy)]
struct Mutation {
    name: &'static str,
    /// As it stands in the dataset's history.
    operation: &'static str,
    change: fn(&ResolverContext<'_>) -> Result<Reshape>,
}

/// `ChangedColumns`.
pub(crate) fn result_type() -> Object {
    Object::new(RESULT)
        .description(
            "Columns that were changed. What the fields of rows are called changes with them.",
        )
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |changed: &Changed| {
            Ok(changed.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named(TypeRef::INT), |changed: &Changed| {
                Ok(changed.version.map_or(Value::Null, |version| version.0.into()))
            })
            .description("The version that has them; null with `dryRun`."),
        )
        .field(
            part("rows", TypeRef::named_nn(scalars::BIG_INT), |changed: &Changed| {
                Ok(big(changed.rows))
            })
            .description("Rows that were written anew; none where only a column was added."),
        )
        .field(
            part("checks", TypeRef::named_nn(TypeRef::INT), |changed: &Changed| {
                Ok(changed.checks.into())
            })
            .description("Checks of the dataset that went with a column."),
        )
}

/// The mutations.
pub(crate) fn fields() -> [Field; 8] {
    let text = |name: &str| InputValue::new(name, TypeRef::named_nn(TypeRef::STRING));
    let maybe = |name: &str| InputValue::new(name, TypeRef::named(TypeRef::STRING));
    let column =
        || text("column").description("Its name in storage, as `DatasetColumn.name` says it.");
    let data_type = || {
        text("type").description("As in a spec: `text`, `int64`, `decimal(12,2)`, `timestamp`, …")
    };
    let name = || text("name").description("What it is called, in storage's way: `cost_per_call`.");
    let unit = || maybe("unit").description("Of its values: `ms`, `usd`, …");
    let about = || maybe("description").description("One line of what it means.");
    let anew = "All rows are written anew, as one commit; older versions stay as they are.";
    [
        field(Mutation { name: "addColumn", operation: "add column", change: add })
            .description("Adds a column, which the rows that are there leave empty. Needs the role writer.")
            .argument(column())
            .argument(data_type())
            .argument(maybe("unit").description("Of its values: `ms`, `usd`, …"))
            .argument(maybe("description").description("One line of what it holds.")),
        field(Mutation { name: "renameColumn", operation: "rename column", change: rename })
            .description(format!(
                "Calls a column otherwise, also where the key, the time column and checks name it. {anew} Needs the role writer."
            ))
            .argument(column())
            .argument(text("to")),
        field(Mutation { name: "dropColumn", operation: "drop column", change: drop_column })
            .description(format!(
                "Drops a column, and the checks that name it. {anew} Needs the role writer."
            ))
            .argument(column()),
        field(Mutation { name: "retypeColumn", operation: "retype column", change: retype })
            .description(format!(
                "Gives a column another type. A value that would be another one is an error that names its row. {anew} Needs the \
                 role writer."
            ))
            .argument(column())
            .argument(data_type()),
        field(Mutation { name: "setKey", operation: "set key", change: set_key })
            .description(format!(
                "Says which columns name a row, where the dataset has no key. A row without a value there, or with another's, is an \
                 error that names it. {anew} Needs the role writer."
            ))
            .argument(
                InputValue::new("columns", TypeRef::named_nn_list_nn(TypeRef::STRING))
                    .description("Their names in storage, as `DatasetColumn.name` says them."),
            ),
        field(Mutation { name: "declareMeasure", operation: "declare measure", change: measure })
            .description("Declares a measure, in the place of one of its name. Needs the role writer.")
            .argument(name())
            .argument(
                text("expression")
                    .description("How it is computed, in SQL: `sum(cost) / count(*)`."),
            )
            .argument(unit())
            .argument(about())
            .argument(
                InputValue::new("format", TypeRef::named_nn(MEASURE_FORMAT))
                    .default_value(Value::Enum(async_graphql::Name::new("NUMBER")))
                    .description("How it is to be shown."),
            )
            .argument(
                InputValue::new("decimals", TypeRef::named(TypeRef::INT))
                    .description("Digits behind the point that it is to be shown with."),
            ),
        field(Mutation {
            name: "declareDimension",
            operation: "declare dimension",
            change: dimension,
        })
        .description("Declares a dimension, in the place of one of its name. Needs the role writer.")
        .argument(name())
        .argument(
            text("expression")
                .description("How it is computed, in SQL: `date_trunc('day', created)`."),
        )
        .argument(unit())
        .argument(about()),
        field(Mutation { name: "undeclare", operation: "undeclare", change: undeclare })
            .description(
                "Takes a measure or dimension away. One that another is made of is an error. Needs the role writer.",
            )
            .argument(name()),
    ]
}

fn field(mutation: Mutation) -> Field {
    Field::new(mutation.name, TypeRef::named(RESULT), move |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let changed = make(&context, mutation).await;
            changed.map(|changed| Some(FieldValue::owned_any(changed)))
        })
    })
    .argument(InputValue::new("dataset", TypeRef::named_nn(TypeRef::STRING)))
    .argument(
        InputValue::new("dryRun", TypeRef::named_nn(TypeRef::BOOLEAN))
            .default_value(false)
            .description("Says what it would come to, and changes nothing."),
    )
}

async fn make(context: &ResolverContext<'_>, mutation: Mutation) -> Result<Changed> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let service = state.service();
    let name = text_argument(context, "dataset").unwrap_or_default();
    let catalog = service.engine.catalog(who).await?;
    let dataset = DatasetName::new(&name).map_err(|_| catalog.unknown(&name))?;
    catalog.dataset(&dataset)?;
    let change = (mutation.change)(context)?;
    if argument(context, "dryRun") == Some(Value::Boolean(true)) {
        let trying = service.engine.try_reshape(who, &dataset, &change);
        let tried = in_time(service.limits.operation_time_max, trying).await?;
        return Ok(Changed { dataset, version: None, rows: tried.rows, checks: tried.checks });
    }
    if let Reshape::Rename { column, .. } | Reshape::Drop { column } = &change {
        service.runner.require_unused(who, &dataset, Some(column)).await?;
    }
    let label = CommitLabel { operation: mutation.operation.to_owned(), ..CommitLabel::default() };
    let made = service.engine.reshape(who, &dataset, change, label);
    let made = state.wait_for(made).await??;
    Ok(Changed { dataset, version: Some(made.version), rows: made.rows, checks: made.checks })
}

fn column(context: &ResolverContext<'_>) -> String {
    text_argument(context, "column").unwrap_or_default()
}

fn add(context: &ResolverContext<'_>) -> Result<Reshape> {
    let name = column(context);
    let description = text_argument(context, "description").unwrap_or_default();
    let (data_type, unit) = (data_type(context)?, text_argument(context, "unit"));
    Ok(Reshape::Add(ColumnSpec { name, data_type, nullable: true, unit, description }))
}

fn rename(context: &ResolverContext<'_>) -> Result<Reshape> {
    let to = text_argument(context, "to").unwrap_or_default();
    Ok(Reshape::Rename { column: column(context), to })
}

fn drop_column(context: &ResolverContext<'_>) -> Result<Reshape> {
    Ok(Reshape::Drop { column: column(context) })
}

fn retype(context: &ResolverContext<'_>) -> Result<Reshape> {
    Ok(Reshape::Retype { column: column(context), to: data_type(context)?, using: None })
}

fn set_key(context: &ResolverContext<'_>) -> Result<Reshape> {
    let Some(Value::List(columns)) = argument(context, "columns") else {
        return Ok(Reshape::Key(Vec::new()));
    };
    let name = |value| match value {
        Value::String(name) => Some(name),
        _ => None,
    };
    Ok(Reshape::Key(columns.into_iter().filter_map(name).collect()))
}

fn measure(context: &ResolverContext<'_>) -> Result<Reshape> {
    let format = match argument(context, "format") {
        Some(Value::Enum(name)) => FORMATS.iter().find(|(known, ..)| *known == name.as_str()),
        Some(Value::String(name)) => FORMATS.iter().find(|(known, ..)| *known == name),
        _ => None,
    };
    let decimals =
        match argument(context, "decimals") {
            Some(Value::Number(number)) => {
                let found = number.as_u64().and_then(|number| u8::try_from(number).ok());
                Some(found.ok_or_else(|| {
                    bad_input(format!("decimals: expected 0 to 12, found {number}"))
                })?)
            }
            _ => None,
        };
    Ok(Reshape::Measure(MeasureSpec {
        name: text_argument(context, "name").unwrap_or_default(),
        expression: text_argument(context, "expression").unwrap_or_default(),
        unit: text_argument(context, "unit"),
        description: text_argument(context, "description").unwrap_or_default(),
        format: format.map(|(.., format)| *format).unwrap_or_default(),
        decimals,
    }))
}

fn dimension(context: &ResolverContext<'_>) -> Result<Reshape> {
    Ok(Reshape::Dimension(DimensionSpec {
        name: text_argument(context, "name").unwrap_or_default(),
        expression: text_argument(context, "expression").unwrap_or_default(),
        unit: text_argument(context, "unit"),
        description: text_argument(context, "description").unwrap_or_default(),
    }))
}

fn undeclare(context: &ResolverContext<'_>) -> Result<Reshape> {
    Ok(Reshape::Undeclare { name: text_argument(context, "name").unwrap_or_default() })
}

fn data_type(context: &ResolverContext<'_>) -> Result<ColumnType> {
    let text = text_argument(context, "type").unwrap_or_default();
    text.parse().map_err(|error| bad_input(format!("type: {}", Error::from(error))))
}
