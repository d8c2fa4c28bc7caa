//! `DatasetMeasure` and `DatasetDimension`: what a dataset declares, and, where it does not fit the columns any more, why.

use async_graphql::dynamic::{Object, TypeRef};
use async_graphql::{Name, Value};
use datasets::MeasureFormat;
use engine::Semantics;

use super::super::resolve::part;
use super::columns::{MEASURE_FORMAT, format_name};
use super::datasets::Dataset;
use crate::names::{GROUP_WORDS, ROW_WORDS, camel_beside};

/// A measure or a dimension.
pub(super) struct Declared {
    name: String,
    field: String,
    expression: String,
    kind: Option<String>,
    unit: Option<String>,
    description: String,
    /// Of measures.
    format: MeasureFormat,
    decimals: Option<u8>,
    /// Why it can not be used.
    problem: Option<String>,
}

impl Dataset {
    pub(super) fn measures(&self) -> Vec<Declared> {
        let semantics = Semantics::of(&self.entry.spec);
        let measures = self.entry.spec.measures.iter();
        measures
            .map(|spec| {
                let found = semantics.measures().iter().find(|it| it.spec.name == spec.name);
                Declared {
                    name: spec.name.clone(),
                    field: camel_beside(&spec.name, &GROUP_WORDS),
                    expression: spec.expression.clone(),
                    kind: found.map(|it| it.kind.to_string()),
                    unit: spec.unit.clone(),
                    description: spec.description.clone(),
                    format: spec.format,
                    decimals: spec.decimals,
                    problem: semantics.unfit().get(&spec.name).map(ToString::to_string),
                }
            })
            .collect()
    }

    pub(super) fn dimensions(&self) -> Vec<Declared> {
        let semantics = Semantics::of(&self.entry.spec);
        let dimensions = self.entry.spec.dimensions.iter();
        dimensions
            .map(|spec| {
                let found = semantics.dimensions().iter().find(|it| it.spec.name == spec.name);
                Declared {
                    name: spec.name.clone(),
                    field: camel_beside(&spec.name, &ROW_WORDS),
                    expression: spec.expression.clone(),
                    kind: found.map(|it| it.kind.to_string()),
                    unit: spec.unit.clone(),
                    description: spec.description.clone(),
                    format: MeasureFormat::default(),
                    decimals: None,
                    problem: semantics.unfit().get(&spec.name).map(ToString::to_string),
                }
            })
            .collect()
    }
}

/// The types.
pub(super) fn types() -> [Object; 2] {
    let measure = with_common("DatasetMeasure", "Something that is computed of groups of rows.")
        .field(
            part("format", TypeRef::named_nn(MEASURE_FORMAT), |it: &Declared| {
                Ok(Value::Enum(Name::new(format_name(it.format))))
            })
            .description("How it is to be shown."),
        )
        .field(
            part("decimals", TypeRef::named(TypeRef::INT), |it: &Declared| {
                Ok(it.decimals.map_or(Value::Null, Value::from))
            })
            .description("Digits behind the point that it is to be shown with."),
        );
    [measure, with_common("DatasetDimension", "Something that is computed of a row.")]
}

fn with_common(name: &str, about: &str) -> Object {
    let text = || TypeRef::named_nn(TypeRef::STRING);
    let maybe = || TypeRef::named(TypeRef::STRING);
    let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    Object::new(name)
        .description(about)
        .field(part("name", text(), |it: &Declared| Ok(it.name.as_str().into())))
        .field(
            part("field", text(), |it: &Declared| Ok(it.field.as_str().into()))
                .description("Its field in groups."),
        )
        .field(
            part("expression", text(), |it: &Declared| Ok(it.expression.as_str().into()))
                .description("How it is computed, in SQL."),
        )
        .field(
            part("type", maybe(), move |it: &Declared| Ok(optional(&it.kind)))
                .description("Of its values; null where it can not be used."),
        )
        .field(part("unit", maybe(), move |it: &Declared| Ok(optional(&it.unit))))
        .field(part("description", text(), |it: &Declared| Ok(it.description.as_str().into())))
        .field(
            part("problem", maybe(), move |it: &Declared| Ok(optional(&it.problem)))
                .description("Why it can not be used, where it does not fit the columns any more."),
        )
}
