//! The subscription `modelCallsChanged`: what each commit changed, pushed when it happens.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SubscriptionField,
    SubscriptionFieldFuture, TypeRef,
};
use engine::{Result, Role};
use futures::{StreamExt, TryStreamExt};

use super::connection::{first, first_argument};
use super::related::RELATED;
use super::resolve::{argument, object, part, state};
use super::row::{Block, row_values, selected};
use super::scalars;
use crate::error::{bad_input, to_graphql};
use crate::limits::Limits;
use crate::plan::as_of::version;
use crate::plan::predicate::predicate;
use crate::shape::Shape;
use crate::subscribe::change::{Change, Side};
use crate::subscribe::versions::{Following, follow};

struct SideRef {
    change: Arc<Change>,
    side: Side,
}

/// `ModelCallsChanged` and `ModelCallsChangedRows`.
pub(crate) fn change_types(shape: &Arc<Shape>, limits: &Limits) -> [Object; 2] {
    let rows_name = shape.type_of("ChangedRows");
    let side = |name: &str, side: Side, description: &str| {
        object(name, TypeRef::named_nn(&rows_name), move |change: &Arc<Change>| SideRef {
            change: change.clone(),
            side,
        })
        .description(description)
    };
    let int = || TypeRef::named_nn(TypeRef::INT);
    let changed = Object::new(shape.type_of("Changed"))
        .description(format!("What changed in {} between two versions.", shape.name))
        .field(
            part("version", int(), |c: &Arc<Change>| Ok(Value::from(c.to.0)))
                .description("The version that the change leads to; give it as `since` to resume."),
        )
        .field(
            part("previousVersion", int(), |c: &Arc<Change>| Ok(Value::from(c.from.0)))
                .description("The version that the change begins from."),
        )
        .field(
            part("collapsed", TypeRef::named_nn(TypeRef::BOOLEAN), |c: &Arc<Change>| {
                Ok(Value::from(c.is_collapsed()))
            })
            .description(
                "Whether several versions are told as one net change: too many to tell one by one, or no \
                 longer kept apart.",
            ),
        )
        .field(
            part("runId", TypeRef::named(TypeRef::ID), |c: &Arc<Change>| {
                let run = c.run_ids().first().filter(|_| !c.is_collapsed());
                Ok(run.map_or(Value::Null, |run| Value::from(run.to_string())))
            })
            .description("The run that made this version, when one did."),
        )
        .field(
            part("runIds", TypeRef::named_nn_list_nn(TypeRef::ID), |c: &Arc<Change>| {
                Ok(c.run_ids().iter().map(|run| Value::from(run.to_string())).collect::<Vec<_>>().into())
            })
            .description("The runs that made the versions of this change."),
        )
        .field(side("added", Side::Added, "Rows that are in the newer version only."))
        .field(side("removed", Side::Removed, "Rows that are in the older version only."));
    let row = TypeRef::named_nn_list_nn(shape.type_of("Row"));
    let rows = Object::new(&rows_name)
        .description("Rows of one side of a change that `where` takes.")
        .field(Field::new("count", TypeRef::named_nn(scalars::BIG_INT), |context| {
            FieldFuture::new(async move {
                let side = context.parent_value.try_downcast_ref::<SideRef>()?;
                let count = side.change.count(side.side).await.map_err(|e| to_graphql(&e))?;
                Ok(Some(Value::from(count.to_string())))
            })
        }))
        .field(
            Field::new("nodes", row, |context| {
                FieldFuture::new(async move {
                    let side = context.parent_value.try_downcast_ref::<SideRef>()?;
                    let (columns, rows) =
                        nodes(&context, side).await.map_err(|e| to_graphql(&e))?;
                    Ok(Some(FieldValue::list(row_values(&columns, 0..rows))))
                })
            })
            .description(
                "The first of them, in the order of the key; `count` says how many there are.",
            )
            .argument(first_argument(limits)),
        );
    [changed, rows]
}

async fn nodes(context: &ResolverContext<'_>, side: &SideRef) -> Result<(Arc<Block>, usize)> {
    let state = state(context.ctx)?;
    let change = &side.change;
    let first = first(argument(context, "first").as_ref(), &state.service().limits)?;
    let field = context.ctx.field();
    if field.selection_set().any(|field| field.name() == RELATED) {
        // The rows are those of two versions of one dataset, and shared among subscribers.
        return Err(bad_input(format!(
            "{RELATED}: a subscription tells what changed in one dataset; ask for related rows in a query"
        )));
    }
    let shown = selected(&change.shape, &[field]);
    let rows = change.rows(side.side, first, &shown).await?;
    for (position, count) in &rows.not_finite {
        let place =
            format!("{}Changed.{}", change.shape.field, change.shape.columns[*position].field);
        state.warnings.not_finite(&place, *count);
    }
    Ok((Block::of(rows.columns.clone()), rows.rows))
}

/// The subscription field `modelCallsChanged`.
pub(crate) fn change_field(shape: &Arc<Shape>) -> SubscriptionField {
    let name = format!("{}Changed", shape.field);
    let kind = TypeRef::named_nn(shape.type_of("Changed"));
    SubscriptionField::new(name, kind, {
        let shape = shape.clone();
        move |context| {
            let shape = shape.clone();
            SubscriptionFieldFuture::new(async move {
                let changes = open(&context, &shape).await.map_err(|error| to_graphql(&error))?;
                Ok(changes
                    .map_ok(|change| FieldValue::owned_any(Arc::new(change)))
                    .map_err(|error| to_graphql(&error)))
            })
        }
    })
    .description(format!(
        "Each version of {} once and in order, from the next commit on or from behind `since`.",
        shape.name
    ))
    .argument(InputValue::new("since", TypeRef::named(TypeRef::INT)).description(
        "The last version that was seen; each later one is told, or one message tells the net change.",
    ))
    .argument(
        InputValue::new("where", TypeRef::named(shape.type_of("Where")))
            .description("Rows to tell of. A version that changes none of them is told with empty sides."),
    )
}

async fn open(
    context: &ResolverContext<'_>,
    shape: &Arc<Shape>,
) -> Result<futures::stream::BoxStream<'static, Result<Change>>> {
    let state = state(context.ctx)?;
    let who = state.who_in_part(Role::Reader)?.clone();
    let filter = argument(context, "where");
    predicate(shape, filter.as_ref(), &state.service().limits)?;
    let since = match argument(context, "since") {
        Some(value) => Some(version(&value, "since")?),
        None => None,
    };
    let following = Following { state: state.clone(), who, shape: shape.clone(), filter };
    Ok(Box::pin(follow(following, since)).await?.boxed())
}
