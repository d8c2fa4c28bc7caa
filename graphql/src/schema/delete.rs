//! The mutation `modelCallsDelete`: rows that a filter takes go, as one commit.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use datasets::{DatasetName, DatasetSpec};
use engine::{Coming, CommitLabel, Going, Result, Revision, Role, Version};

use super::control::big;
use super::resolve::{argument, nullable, part, state};
use super::scalars;
use crate::error::bad_input;
use crate::plan::predicate::predicate;
use crate::shape::Shape;

const RESULT: &str = "DeletedRows";

/// Rows that went, or would.
struct Deleted {
    dataset: DatasetName,
    /// None where it was only asked how many they are.
    version: Option<Version>,
    rows: u64,
}

/// `DeletedRows`.
pub(crate) fn result_type() -> Object {
    Object::new(RESULT)
        .description("Rows that were deleted.")
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |deleted: &Deleted| {
            Ok(deleted.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named(TypeRef::INT), |deleted: &Deleted| {
                Ok(deleted.version.map_or(Value::Null, |version| version.0.into()))
            })
            .description("The version that has them no more; null with `dryRun`."),
        )
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |deleted: &Deleted| {
            Ok(big(deleted.rows))
        }))
}

/// Whether rows of a dataset are a client's to delete.
pub(crate) fn is_deletable(spec: &DatasetSpec) -> bool {
    !spec.derived || spec.name.is_quarantine()
}

/// The mutation.
pub(crate) fn delete_field(shape: &Arc<Shape>) -> Field {
    let of = shape.clone();
    Field::new(format!("{}Delete", shape.field), TypeRef::named(RESULT), move |context| {
        let (inner, shape) = (context.ctx, of.clone());
        nullable(inner, async move {
            delete(&context, &shape).await.map(|deleted| Some(FieldValue::owned_any(deleted)))
        })
    })
    .description(format!(
        "Deletes the rows of {} that `where` takes, as one commit. Older versions still have them. Needs the role writer.",
        shape.name
    ))
    .argument(
        InputValue::new("where", TypeRef::named(shape.type_of("Where")))
            .description("Which rows. Where there is none, `all` must say that all are meant."),
    )
    .argument(InputValue::new("all", TypeRef::named_nn(TypeRef::BOOLEAN)).default_value(false))
    .argument(
        InputValue::new("dryRun", TypeRef::named_nn(TypeRef::BOOLEAN))
            .default_value(false)
            .description("Says how many rows there are, and deletes none."),
    )
}

async fn delete(context: &ResolverContext<'_>, shape: &Shape) -> Result<Deleted> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Writer)?;
    let service = state.service();
    let is = |name| argument(context, name) == Some(Value::Boolean(true));
    let condition = predicate(shape, argument(context, "where").as_ref(), &service.limits)?;
    // One that names no column is true of every row or of none, which `all` says, and a list that came to be empty does not.
    let condition = condition.filter(|condition| !condition.column_refs().is_empty());
    let going = match (condition, is("all")) {
        (Some(condition), false) => Going::Where(condition),
        (None, true) => Going::All,
        (None, false) => {
            return Err(bad_input(format!(
                "{}Delete: expected a condition in `where`, or `all: true` for every row",
                shape.field
            )));
        }
        (Some(_), true) => {
            return Err(bad_input(format!(
                "{}Delete: expected either `where` or `all: true`, found both",
                shape.field
            )));
        }
    };
    let dataset = shape.name.clone();
    if is("dryRun") {
        let session = service.engine.session(who, &[]).await?;
        let frame = session.table(&dataset).await?;
        let frame = match going {
            Going::Where(condition) => frame.filter(condition)?,
            Going::All | Going::SameKey => frame,
        };
        return Ok(Deleted { rows: frame.count().await? as u64, version: None, dataset });
    }
    let label = CommitLabel { operation: "delete".to_owned(), ..CommitLabel::default() };
    let revision = Revision { going, coming: Coming::Nothing };
    // Others may be changing rows of it, for long.
    let revised = service.engine.revise(who, &dataset, revision, label);
    let revised = state.wait_for(revised).await??;
    Ok(Deleted { rows: revised.removed, version: Some(revised.version), dataset })
}
