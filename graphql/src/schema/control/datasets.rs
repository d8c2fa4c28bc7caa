//! `datasets`, `dataset(name:)`, `createDataset(spec:)`: what there is to query, and its history.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use chrono::{DateTime, Utc};
use datasets::{DatasetName, DatasetSpec};
use engine::{Catalog, CommitRecord, DatasetEntry, Error, Result, Role};

use super::super::connection::first;
use super::super::resolve::{argument, nullable, objects, part, state, text_argument};
use super::super::scalars;
use super::{big, declared, instant, json, optional_instant};
use crate::error::bad_input;
use crate::shape::{Column, Shape};

/// Versions that `Dataset.versions` gives when `first` is absent.
const VERSIONS_DEFAULT: usize = 20;

pub(crate) struct Dataset {
    pub(super) entry: DatasetEntry,
    pub(super) shape: Arc<Shape>,
}

#[derive(Clone)]
struct ColumnRef {
    shape: Arc<Shape>,
    position: usize,
    unit: Option<String>,
    description: String,
}

impl ColumnRef {
    fn column(&self) -> &Column {
        &self.shape.columns[self.position]
    }
}

impl Dataset {
    pub(crate) fn new(entry: &DatasetEntry) -> Self {
        Self { shape: Shape::new(&entry.spec), entry: entry.clone() }
    }

    fn columns(&self) -> Vec<ColumnRef> {
        let columns = self.shape.columns.iter().enumerate();
        columns
            .map(|(position, column)| {
                let spec = self.entry.spec.column(&column.name);
                ColumnRef {
                    shape: self.shape.clone(),
                    position,
                    unit: spec.and_then(|spec| spec.unit.clone()),
                    description: spec.map(|spec| spec.description.clone()).unwrap_or_default(),
                }
            })
            .collect()
    }
}

/// `Dataset`, `DatasetColumn`, `DatasetMeasure`, `DatasetDimension`, `DatasetVersion`.
pub(crate) fn types() -> [Object; 7] {
    let text = || TypeRef::named_nn(TypeRef::STRING);
    let optional =
        |text: Option<&String>| text.map_or(Value::Null, |text| Value::from(text.as_str()));
    let dataset = Object::new("Dataset")
        .description("A named table of versions.")
        .field(part("name", text(), |d: &Dataset| Ok(d.entry.spec.name.as_str().into())))
        .field(
            part("field", text(), |d: &Dataset| Ok(d.shape.field.as_str().into())).description(
                "The query field of its rows; `<field>Groups` and the subscription `<field>Changed` stand \
                 beside it.",
            ),
        )
        .field(part("description", text(), |d: &Dataset| Ok(d.entry.spec.description.as_str().into())))
        .field(part("owner", TypeRef::named(TypeRef::STRING), move |d: &Dataset| {
            Ok(optional(d.entry.spec.owner.as_ref()))
        }))
        .field(part("key", TypeRef::named_nn_list_nn(TypeRef::STRING), |d: &Dataset| {
            Ok(d.entry.spec.key.iter().map(|k| Value::from(k.as_str())).collect::<Vec<_>>().into())
        }))
        .field(part("timeColumn", TypeRef::named(TypeRef::STRING), move |d: &Dataset| {
            Ok(optional(d.entry.spec.time_column.as_ref()))
        }))
        .field(objects("columns", TypeRef::named_nn_list_nn("DatasetColumn"), Dataset::columns))
        .field(
            objects("measures", TypeRef::named_nn_list_nn("DatasetMeasure"), Dataset::measures)
                .description("What is computed of its groups by name."),
        )
        .field(
            objects("dimensions", TypeRef::named_nn_list_nn("DatasetDimension"), Dataset::dimensions)
                .description("What is computed of its rows by name, and used as columns are."),
        )
        .field(
            part("isQuarantine", TypeRef::named_nn(TypeRef::BOOLEAN), |d: &Dataset| {
                Ok(d.entry.spec.name.is_quarantine().into())
            })
            .description("Whether it holds the rows that another dataset refused."),
        )
        .field(
            part("isDerived", TypeRef::named_nn(TypeRef::BOOLEAN), |d: &Dataset| {
                Ok(d.entry.spec.derived.into())
            })
            .description("Whether Colonnade writes its rows by itself; clients can send none."),
        )
        .field(part("version", TypeRef::named_nn(TypeRef::INT), |d: &Dataset| {
            Ok(d.entry.version.0.into())
        }))
        .field(
            part("rows", TypeRef::named(scalars::BIG_INT), |d: &Dataset| {
                Ok(d.entry.rows.map_or(Value::Null, big))
            })
            .description("Null when a file does not state its count, and for who sees a part of them only."),
        )
        .field(
            part("bytes", TypeRef::named(scalars::BIG_INT), |d: &Dataset| Ok(size(d, d.entry.bytes)))
                .description("Null for who sees a part of it only."),
        )
        .field(
            part("files", TypeRef::named(scalars::BIG_INT), |d: &Dataset| Ok(size(d, d.entry.files)))
                .description("Null for who sees a part of it only."),
        )
        .field(part("createdAt", TypeRef::named(scalars::DATE_TIME), |d: &Dataset| {
            Ok(optional_instant(d.entry.created_at.as_ref()))
        }))
        .field(part("updatedAt", TypeRef::named(scalars::DATE_TIME), |d: &Dataset| {
            Ok(optional_instant(d.entry.updated_at.as_ref()))
        }))
        .field(
            part("spec", TypeRef::named_nn(scalars::JSON), |d: &Dataset| json(&d.entry.spec))
                .description("All of its description, as it stands in the table itself."),
        )
        .field(versions_field());
    let column = Object::new("DatasetColumn")
        .description("A column of a dataset.")
        .field(part("name", text(), |c: &ColumnRef| Ok(c.column().name.as_str().into())))
        .field(part("field", text(), |c: &ColumnRef| Ok(c.column().field.as_str().into())))
        .field(part("type", text(), |c: &ColumnRef| Ok(c.column().kind.to_string().into())))
        .field(part("nullable", TypeRef::named_nn(TypeRef::BOOLEAN), |c: &ColumnRef| {
            Ok(c.column().nullable.into())
        }))
        .field(part("description", text(), |c: &ColumnRef| Ok(c.description.as_str().into())))
        .field(part("unit", TypeRef::named(TypeRef::STRING), move |c: &ColumnRef| {
            Ok(optional(c.unit.as_ref()))
        }));
    let [measure, dimension] = declared::types();
    [dataset, column, measure, dimension, version_type(), unreadable_type(), dropped_type()]
}

/// Bytes or files of a dataset; they would tell of rows that are kept back.
fn size(dataset: &Dataset, size: u64) -> Value {
    match dataset.entry.is_part {
        true => Value::Null,
        false => big(size),
    }
}

/// A dataset that can not be read, and why.
struct Unreadable {
    name: DatasetName,
    reason: Error,
}

fn unreadable_type() -> Object {
    let text = || TypeRef::named_nn(TypeRef::STRING);
    Object::new("UnreadableDataset")
        .description("A dataset whose files are damaged or not there.")
        .field(part("name", text(), |d: &Unreadable| Ok(d.name.as_str().into())))
        .field(part("code", text(), |d: &Unreadable| Ok(d.reason.code().as_str().into())))
        .field(part("reason", text(), |d: &Unreadable| Ok(d.reason.to_string().into())))
}

/// The query field `unreadableDatasets`.
pub(crate) fn unreadable_field() -> Field {
    Field::new("unreadableDatasets", TypeRef::named_nn_list("UnreadableDataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let catalog = catalog(inner).await?;
            let all = catalog.unreadable.iter().map(|(name, reason)| {
                let (name, reason) = (name.clone(), reason.clone());
                FieldValue::owned_any(Unreadable { name, reason })
            });
            Ok(Some(FieldValue::list(all.collect::<Vec<_>>())))
        })
    })
    .description("Datasets that are there and can not be read, by name, with the reason.")
}

fn version_type() -> Object {
    Object::new("DatasetVersion")
        .description("One commit.")
        .field(part("version", TypeRef::named_nn(TypeRef::INT), |c: &CommitRecord| {
            Ok(c.version.0.into())
        }))
        .field(part("at", TypeRef::named_nn(scalars::DATE_TIME), |c: &CommitRecord| {
            Ok(instant(&c.at))
        }))
        .field(part("operation", TypeRef::named_nn(TypeRef::STRING), |c: &CommitRecord| {
            Ok(c.operation.as_str().into())
        }))
        .field(part("runId", TypeRef::named(TypeRef::ID), |c: &CommitRecord| {
            Ok(c.run_id.map_or(Value::Null, |run| run.to_string().into()))
        }))
        .field(
            part("by", TypeRef::named(TypeRef::STRING), |c: &CommitRecord| {
                Ok(c.subject.as_deref().map_or(Value::Null, Value::from))
            })
            .description("Who committed: a key's subject, or the user of a command."),
        )
        .field(
            part("producers", TypeRef::named_nn_list_nn(TypeRef::STRING), |c: &CommitRecord| {
                let producers = c.producers.iter();
                Ok(producers.map(|p| Value::from(p.as_str())).collect::<Vec<_>>().into())
            })
            .description("The producers whose numbered requests it took."),
        )
        .field(part("rowsAdded", TypeRef::named(scalars::BIG_INT), |c: &CommitRecord| {
            Ok(c.rows_added.map_or(Value::Null, big))
        }))
}

fn versions_field() -> Field {
    Field::new("versions", TypeRef::named_nn_list("DatasetVersion"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let dataset = context
                .parent_value
                .downcast_ref::<Dataset>()
                .ok_or_else(|| Error::internal("versions of something else than a dataset"))?;
            let state = state(context.ctx)?;
            let who = state.who_in_part(Role::Reader)?;
            let first = match argument(&context, "first") {
                None => VERSIONS_DEFAULT,
                given => first(given.as_ref(), &state.service().limits)?,
            };
            let name = &dataset.entry.spec.name;
            let history = state.service().engine.history(who, name, first).await?;
            Ok(Some(FieldValue::list(history.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description("Its commits, newest first.")
    .argument(
        InputValue::new("first", TypeRef::named(TypeRef::INT))
            .description(format!("At most so many; {VERSIONS_DEFAULT} when absent.")),
    )
}

async fn catalog(context: &async_graphql::Context<'_>) -> Result<Arc<Catalog>> {
    let state = state(context)?;
    state.service().engine.catalog(state.who_in_part(Role::Reader)?).await
}

/// The query field `datasets`.
pub(crate) fn datasets_field() -> Field {
    Field::new("datasets", TypeRef::named_nn_list("Dataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let catalog = catalog(inner).await?;
            let all = catalog.datasets.values().map(Dataset::new).map(FieldValue::owned_any);
            Ok(Some(FieldValue::list(all.collect::<Vec<_>>())))
        })
    })
    .description("All datasets, by name.")
}

/// The query field `dataset`.
pub(crate) fn dataset_field() -> Field {
    Field::new("dataset", TypeRef::named("Dataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let name = text_argument(&context, "name").unwrap_or_default();
            let catalog = catalog(inner).await?;
            let entry = match DatasetName::new(&name) {
                Ok(name) => catalog.dataset(&name)?,
                Err(_) => return Err(catalog.unknown(&name)),
            };
            Ok(Some(FieldValue::owned_any(Dataset::new(entry))))
        })
    })
    .description("One dataset, by its name in storage.")
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)))
}

/// A dataset that is dropped.
struct Dropped {
    name: DatasetName,
    at: DateTime<Utc>,
}

fn dropped_type() -> Object {
    Object::new("DroppedDataset")
        .description("A dataset that is dropped and can be restored.")
        .field(part("name", TypeRef::named_nn(TypeRef::STRING), |d: &Dropped| {
            Ok(d.name.as_str().into())
        }))
        .field(part("droppedAt", TypeRef::named_nn(scalars::DATE_TIME), |d: &Dropped| {
            Ok(instant(&d.at))
        }))
}

/// The query field `droppedDatasets`.
pub(crate) fn dropped_field() -> Field {
    Field::new("droppedDatasets", TypeRef::named_nn_list("DroppedDataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let catalog = catalog(inner).await?;
            let all =
                catalog.dropped.iter().map(|(name, at)| Dropped { name: name.clone(), at: *at });
            Ok(Some(FieldValue::list(all.map(FieldValue::owned_any).collect::<Vec<_>>())))
        })
    })
    .description("Datasets that are dropped and can be restored, by name.")
}

/// The mutation `dropDataset`.
pub(crate) fn drop_field() -> Field {
    Field::new("dropDataset", TypeRef::named("DroppedDataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Writer)?;
            let engine = &state.service().engine;
            let name = named(&context, inner).await?;
            state.service().runner.require_unused(who, &name, None).await?;
            engine.drop_dataset(who, &name).await?;
            let at = engine.catalog(who).await?.dropped.get(&name).copied();
            Ok(Some(FieldValue::owned_any(Dropped { name, at: at.unwrap_or_else(Utc::now) })))
        })
    })
    .description(
        "Drops a dataset, and its quarantine with it, as one commit. Its rows stay where they are until `colonnade drop --purge` \
         deletes them. Needs the role writer.",
    )
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)))
}

/// The mutation `restoreDataset`.
pub(crate) fn restore_field() -> Field {
    Field::new("restoreDataset", TypeRef::named("Dataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Writer)?;
            let name = named(&context, inner).await?;
            let entry = state.service().engine.restore_dataset(who, &name).await?;
            Ok(Some(FieldValue::owned_any(Dataset::new(&entry))))
        })
    })
    .description(
        "Brings a dropped dataset back, with its rows and versions. Needs the role writer.",
    )
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)))
}

/// The dataset that a mutation names.
async fn named(
    context: &ResolverContext<'_>,
    inner: &async_graphql::Context<'_>,
) -> Result<DatasetName> {
    let name = text_argument(context, "name").unwrap_or_default();
    match DatasetName::new(&name) {
        Ok(name) => Ok(name),
        Err(_) => Err(catalog(inner).await?.unknown(&name)),
    }
}

/// The mutation `createDataset`.
pub(crate) fn create_field() -> Field {
    Field::new("createDataset", TypeRef::named("Dataset"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Writer)?;
            let spec = argument(&context, "spec").unwrap_or_default();
            let spec = spec
                .into_json()
                .map_err(|error| bad_input(format!("createDataset.spec: {error}")))?;
            let spec: DatasetSpec = serde_json::from_value(spec)
                .map_err(|error| bad_input(format!("createDataset.spec: {error}")))?;
            spec.check().map_err(Error::from)?;
            let entry = state.service().engine.create_dataset(who, spec).await?;
            Ok(Some(FieldValue::owned_any(Dataset::new(&entry))))
        })
    })
    .description(
        "Creates a dataset. The same spec again is no error; another one of that name is a CONFLICT. \
         Needs the role writer.",
    )
    .argument(
        InputValue::new("spec", TypeRef::named_nn(scalars::JSON))
            .description("As `Dataset.spec` shows it: name, columns with name and type, key, …"),
    )
}
