//! `explain`: why a measure changed between two periods, answered at once.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use datasets::DatasetName;
use engine::Result;
use jobs::explain::{Explanation, Finding, explain};

use super::super::connection::AS_OF;
use super::super::resolve::{argument, nullable, objects, part, state, text_argument};
use super::super::scalars;
use super::{big, given, json};
use crate::plan::as_of::as_of;

const EXPLANATION: &str = "ChangeExplanation";
const FINDING: &str = "ChangeFinding";

/// Arguments and the parameters of the job that they are.
const PARAMS: [(&str, &str); 14] = [
    ("dataset", "dataset"),
    ("timeColumn", "time_column"),
    ("measure", "measure"),
    ("where", "where"),
    ("dimensions", "dimensions"),
    ("from", "from"),
    ("to", "to"),
    ("beforeFrom", "before_from"),
    ("beforeTo", "before_to"),
    ("depth", "depth"),
    ("first", "findings_max"),
    ("explained", "explained"),
    ("significance", "significance"),
    ("dispersion", "dispersion"),
];

/// `ChangeExplanation`, `ChangeFinding`.
pub(crate) fn types() -> [Object; 2] {
    let float = || TypeRef::named(TypeRef::FLOAT);
    let text = || TypeRef::named_nn(TypeRef::STRING);
    let texts = || TypeRef::named_nn_list_nn(TypeRef::STRING);
    let explanation = Object::new(EXPLANATION)
        .description("Why a measure changed between two periods.")
        .field(
            part("outcome", text(), |of: &Explanation| Ok(of.outcome.into())).description(
                "found; even where all groups moved alike; noise where nothing stands out; incomparable where a period has no rows.",
            ),
        )
        .field(part("before", float(), |of: &Explanation| Ok(number(of.before))))
        .field(part("after", float(), |of: &Explanation| Ok(number(of.after))))
        .field(part("change", float(), |of: &Explanation| Ok(number(Some(of.change)))))
        .field(part("rows", TypeRef::named_nn(scalars::BIG_INT), |of: &Explanation| {
            Ok(big(of.rows))
        }))
        .field(
            part("dimensions", texts(), |of: &Explanation| {
                Ok(of.dimensions.iter().map(|of| Value::from(of.as_str())).collect::<Vec<_>>().into())
            })
            .description("The columns that were looked at."),
        )
        .field(part("says", text(), |of: &Explanation| Ok(of.says.as_str().into())))
        .field(
            objects("findings", TypeRef::named_nn_list_nn(FINDING), |of: &Explanation| {
                of.findings.clone()
            })
            .description("Groups that moved otherwise than the rest, that which stands out most first."),
        );
    let finding = Object::new(FINDING)
        .description("A group of rows that moved otherwise than the rest.")
        .field(part("finding", text(), |of: &Finding| Ok(of.finding.as_str().into())))
        .field(
            part("byColumn", TypeRef::named_nn(scalars::JSON), |of: &Finding| json(&of.group))
                .description("The values of the group."),
        )
        .field(part("before", float(), |of: &Finding| Ok(number(of.before))))
        .field(part("after", float(), |of: &Finding| Ok(number(of.after))))
        .field(part("rowsBefore", TypeRef::named_nn(scalars::BIG_INT), |of: &Finding| {
            Ok(big(of.rows[0]))
        }))
        .field(part("rowsAfter", TypeRef::named_nn(scalars::BIG_INT), |of: &Finding| {
            Ok(big(of.rows[1]))
        }))
        .field(
            part("contribution", float(), |of: &Finding| Ok(number(Some(of.contribution))))
                .description(
                    "What it adds to the change; those of all values of a column add up to it.",
                ),
        )
        .field(
            part("share", float(), |of: &Finding| Ok(number(of.share)))
                .description("The same as a part of the change."),
        )
        .field(
            part("byRate", float(), |of: &Finding| Ok(number(of.parts.map(|of| of[0]))))
                .description("Of a ratio: what its own change adds."),
        )
        .field(
            part("byMix", float(), |of: &Finding| Ok(number(of.parts.map(|of| of[1]))))
                .description("Of a ratio: what the change of its part of all rows adds."),
        )
        .field(
            part("byBoth", float(), |of: &Finding| Ok(number(of.parts.map(|of| of[2]))))
                .description("Of a ratio: what both add together."),
        )
        .field(
            part("joint", float(), |of: &Finding| Ok(number(of.joint)))
                .description("Of several values: what they add beyond what each leads to expect."),
        )
        .field(
            part("pValue", float(), |of: &Finding| Ok(number(Some(of.p))))
                .description("Chance of such a finding by noise in any group that was looked at."),
        )
        .field(part("says", text(), |of: &Finding| Ok(of.says.as_str().into())));
    [explanation, finding]
}

fn number(value: Option<f64>) -> Value {
    value.filter(|value| value.is_finite()).map_or(Value::Null, Value::from)
}

/// The query field `explain`.
pub(crate) fn field() -> Field {
    let text = |name: &str| InputValue::new(name, TypeRef::named(TypeRef::STRING));
    let instant = |name: &str| InputValue::new(name, TypeRef::named(scalars::DATE_TIME));
    let required = |name: &str| InputValue::new(name, TypeRef::named_nn(scalars::DATE_TIME));
    Field::new("explain", TypeRef::named(EXPLANATION), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            answer(&context).await.map(|found| Some(FieldValue::owned_any(found)))
        })
    })
    .description(
        "Says which values of which columns carry the change of a measure between two periods, of at most as many combinations of \
         values as 128 MiB hold. The job `explain` takes more, and keeps what it finds.",
    )
    .argument(InputValue::new("dataset", TypeRef::named_nn(TypeRef::STRING)))
    .argument(InputValue::new("asOf", TypeRef::named(AS_OF)))
    .argument(text("timeColumn").description("The dataset's own when absent."))
    .argument(text("measure").description(
        "A count, a sum, a mean, a ratio of these, a quantile, or the name of a declared measure. count(*) when absent.",
    ))
    .argument(text("where").description("Only rows of which this is true, as it stands in SQL behind WHERE."))
    .argument(
        InputValue::new("dimensions", TypeRef::named_nn_list(TypeRef::STRING))
            .description("Columns whose values may carry the change; the coarsest texts when absent."),
    )
    .argument(required("from").description("The later period begins."))
    .argument(required("to").description("The later period ends before."))
    .argument(instant("beforeFrom").description("The earlier period begins; as long as the later when absent."))
    .argument(instant("beforeTo").description("The earlier period ends before; where the later begins when absent."))
    .argument(InputValue::new("depth", TypeRef::named(TypeRef::INT)).description("Most values of a finding, 1 to 4. 3 when absent."))
    .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).description("Most findings, 1 to 100. 10 when absent."))
    .argument(InputValue::new("explained", TypeRef::named(TypeRef::FLOAT)).description("Findings end where they explain this part. 0.9 when absent."))
    .argument(InputValue::new("significance", TypeRef::named(TypeRef::FLOAT)).description("Chance that noise is told as a finding. 0.01 when absent."))
    .argument(InputValue::new("dispersion", TypeRef::named(TypeRef::FLOAT)).description("Variance of the noise where rows come in bursts. 1 when absent."))
}

async fn answer(context: &ResolverContext<'_>) -> Result<Explanation> {
    let state = state(context.ctx)?;
    let params = given(context, "explain", PARAMS)?;
    let dataset = DatasetName::new(text_argument(context, "dataset").unwrap_or_default())?;
    let pin = as_of(argument(context, "asOf").as_ref())?;
    let session = state.session(&[(dataset, pin)]).await?;
    explain(&session, &params.into()).await
}
