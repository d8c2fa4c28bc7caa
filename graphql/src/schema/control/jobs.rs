//! `jobs`, `job(name:)`: which kinds of job there are and what each takes.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, TypeRef};
use engine::{Result, Role};
use jobs::Job;

use super::super::resolve::{nullable, part, state, text_argument};
use super::super::scalars;

/// A job kind.
type Kind = Arc<dyn Job>;

/// `Job`.
pub(crate) fn job_type() -> Object {
    Object::new("Job")
        .description("A kind of job: a function from datasets to result datasets.")
        .field(part("name", TypeRef::named_nn(TypeRef::STRING), |job: &Kind| Ok(job.name().into())))
        .field(part("description", TypeRef::named_nn(TypeRef::STRING), |job: &Kind| {
            Ok(job.description().into())
        }))
        .field(
            part("parametersSchema", TypeRef::named_nn(scalars::JSON), |job: &Kind| {
                super::json(job.parameters_schema())
            })
            .description("A JSON schema of `params` of `runJob`, with units and defaults."),
        )
}

/// The query field `jobs`.
pub(crate) fn jobs_field() -> Field {
    Field::new("jobs", TypeRef::named_nn_list("Job"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            state(inner)?.who_in_part(Role::Reader)?;
            Ok(Some(FieldValue::list(jobs::kinds().into_iter().map(kind_value))))
        })
    })
    .description("All kinds of job.")
}

/// The query field `job`.
pub(crate) fn job_field() -> Field {
    Field::new("job", TypeRef::named("Job"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            state(inner)?.who_in_part(Role::Reader)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let kind: Result<Kind> = jobs::kind(&name);
            Ok(Some(kind_value(kind?)))
        })
    })
    .description("One kind of job.")
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)))
}

fn kind_value<'a>(kind: Kind) -> FieldValue<'a> {
    FieldValue::owned_any(kind)
}

/// An empty object of parameters.
pub(crate) fn no_parameters() -> Value {
    Value::Object(Default::default())
}
