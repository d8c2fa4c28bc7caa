//! The subscription `modelCallsGroupsLive`: groups as they are, and again with each version, with what became of them.
//!
//! All who ask the same share what is computed for a version, and the message. A group is known by its keys, and by whether it is a
//! total or the rest.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SubscriptionField,
    SubscriptionFieldFuture, TypeRef,
};
use engine::{AsOf, Code, Error, Places, Result, Role, Taken, TenantId, Version};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::connection::first;
use super::groups::{GroupRef, asked, grouping_arguments};
use super::resolve::{argument, part, state};
use crate::error::{busy, to_graphql};
use crate::limits::Limits;
use crate::plan::as_of::version;
use crate::plan::grouping::Groups;
use crate::plan::groups::GroupsRequest;
use crate::plan::holding::Holding;
use crate::plan::predicate::predicate;
use crate::request::RequestState;
use crate::shape::Shape;
use crate::subscribe::change::Change;
use crate::subscribe::shared::Weigh;
use crate::subscribe::versions::{Following, follow};

impl Weigh for Groups {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The groups at a version, and at the one that was told before.
struct Live {
    version: Version,
    /// None in the first message.
    previous: Option<Version>,
    is_collapsed: bool,
    groups: Arc<Groups>,
    before: Arc<Groups>,
}

impl Live {
    /// Rows of groups that were not there, or had other values.
    fn changed(&self) -> Vec<usize> {
        let before: HashMap<String, String> =
            (0..self.before.rows).map(|row| self.before.told(row)).collect();
        let is_other = |row: &usize| {
            let (key, values) = self.groups.told(*row);
            before.get(&key) != Some(&values)
        };
        (0..self.groups.rows).filter(is_other).collect()
    }

    /// Rows of groups before that are no more.
    fn gone(&self) -> Vec<usize> {
        let now: HashMap<String, String> =
            (0..self.groups.rows).map(|row| self.groups.told(row)).collect();
        (0..self.before.rows).filter(|row| !now.contains_key(&self.before.told(*row).0)).collect()
    }
}

/// `ModelCallsGroupsLive`.
pub(crate) fn live_type(shape: &Shape) -> Object {
    let list = |name: &str, rows: fn(&Live) -> (&Arc<Groups>, Vec<usize>)| {
        Field::new(name, TypeRef::named_nn_list_nn(shape.type_of("GroupNode")), move |context| {
            match context.parent_value.try_downcast_ref::<Arc<Live>>() {
                Ok(live) => {
                    let (groups, rows) = rows(live);
                    let node =
                        |row| FieldValue::owned_any(GroupRef { groups: groups.clone(), row });
                    FieldFuture::Value(Some(FieldValue::list(rows.into_iter().map(node))))
                }
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            }
        })
    };
    Object::new(shape.type_of("GroupsLive"))
        .description(format!(
            "Groups of rows of {} at one version, and what became of them.",
            shape.name
        ))
        .field(
            part("version", TypeRef::named_nn(TypeRef::INT), |live: &Arc<Live>| {
                Ok(Value::from(live.version.0))
            })
            .description("The version that all groups are of; give it as `since` to resume."),
        )
        .field(
            part("previousVersion", TypeRef::named(TypeRef::INT), |live: &Arc<Live>| {
                Ok(live.previous.map_or(Value::Null, |version| Value::from(version.0)))
            })
            .description("The version that was told before; null in the first message."),
        )
        .field(
            part("collapsed", TypeRef::named_nn(TypeRef::BOOLEAN), |live: &Arc<Live>| {
                Ok(Value::from(live.is_collapsed))
            })
            .description("Whether several versions are told as one."),
        )
        .field(
            part("hasMore", TypeRef::named_nn(TypeRef::BOOLEAN), |live: &Arc<Live>| {
                Ok(Value::from(live.groups.has_more))
            })
            .description("Whether there are more groups than `first`."),
        )
        .field(
            list("nodes", |live| (&live.groups, (0..live.groups.rows).collect()))
                .description("All of them, as the query of groups gives them."),
        )
        .field(
            list("changed", |live| (&live.groups, live.changed()))
                .description("Those that were not there before, or in which something else stood."),
        )
        .field(
            list("gone", |live| (&live.before, live.gone()))
                .description("Those that were there before and are no more, as they were."),
        )
}

/// The subscription field `modelCallsGroupsLive`.
pub(crate) fn live_field(shape: &Arc<Shape>, limits: &Limits) -> SubscriptionField {
    let name = format!("{}GroupsLive", shape.field);
    let kind = TypeRef::named_nn(shape.type_of("GroupsLive"));
    let field = SubscriptionField::new(name, kind, {
        let shape = shape.clone();
        move |context| {
            let shape = shape.clone();
            SubscriptionFieldFuture::new(async move {
                let live = open(&context, &shape).await.map_err(|error| to_graphql(&error))?;
                Ok(live
                    .map_ok(|live| FieldValue::owned_any(Arc::new(live)))
                    .map_err(|error| to_graphql(&error)))
            })
        }
    });
    let field =
        grouping_arguments(shape, limits).into_iter().fold(field, SubscriptionField::argument);
    field
        .description(format!("Groups of rows of {} as they are, and again with each version.", shape.name))
        .argument(
            InputValue::new("where", TypeRef::named(shape.type_of("Where")))
                .description("Rows that groups are made of."),
        )
        .argument(InputValue::new("since", TypeRef::named(TypeRef::INT)).description(
            "The last version that was seen: the first message is then of the next one, and tells what became of the groups since.",
        ))
}

/// Bytes of groups that are kept for subscriptions, half of them of one tenant; those who ask the same keep the same.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// The unit in which they are counted.
const KEPT_UNIT_BYTES: usize = 4 << 10;

/// Room for groups that are kept.
pub(crate) fn places() -> Places {
    Places::new(KEPT_BYTES_MAX / KEPT_UNIT_BYTES)
}

fn room(places: &Places, tenant: &TenantId, bytes: usize) -> Result<Taken> {
    let units = u32::try_from(bytes.div_ceil(KEPT_UNIT_BYTES).max(1)).unwrap_or(u32::MAX);
    places.try_take_many(tenant, units).ok_or_else(|| {
        let what = "bytes of groups that subscriptions of one tenant keep";
        busy(what, places.share() * KEPT_UNIT_BYTES)
    })
}

/// What is asked, at any version.
struct Asked {
    state: Arc<RequestState>,
    shape: Arc<Shape>,
    request: GroupsRequest,
    filter: Option<Value>,
    first: usize,
}

impl Asked {
    /// The groups at `version`.
    async fn at(&self, version: Version) -> Result<Arc<Groups>> {
        let Self { state, shape, request, filter, first } = self;
        let service = state.service();
        let key = format!("groups {} {version} {}", state.scope(shape), state.question());
        let groups = service.shared.get(key, async {
            let session = state.session(&[(shape.name.clone(), AsOf::Version(version))]).await?;
            let table = session.table_of_today(&shape.name).await?;
            let table = match predicate(shape, filter.as_ref(), &service.limits)? {
                Some(predicate) => table.filter(predicate)?,
                None => table,
            };
            let holding = Holding::new(&service.limits);
            let mut groups = request.read(&session, shape, table, *first, &holding).await?;
            groups.kept = Some(room(&service.live_groups, state.tenant(), groups.bytes)?);
            Ok(groups)
        });
        let groups = crate::service::in_time(service.limits.operation_time_max, groups).await?;
        if groups.not_finite > 0 {
            state.warnings.not_finite(&format!("{}GroupsLive", shape.field), groups.not_finite);
        }
        Ok(groups)
    }
}

impl Asked {
    /// What was asked for could be had at the version that was told before: the dataset is another by now.
    fn later(&self, error: Error, change: &Change) -> Error {
        if error.code() != Code::BadInput {
            return error;
        }
        let says = format!(
            "{}: a column that is asked for was renamed, dropped or given another type up to version {} ({error}); subscribe again, with \
             since: {}",
            self.shape.name, change.to, change.from
        );
        Error::user(Code::Conflict, says)
    }
}

async fn open(
    context: &ResolverContext<'_>,
    shape: &Arc<Shape>,
) -> Result<BoxStream<'static, Result<Live>>> {
    let state = state(context.ctx)?;
    let limits = &state.service().limits;
    let who = state.who_in_part(Role::Reader)?.clone();
    let looking = context.ctx.look_ahead();
    let lists = ["nodes", "changed", "gone"].map(|name| looking.field(name));
    let asked = Asked {
        state: state.clone(),
        shape: shape.clone(),
        request: asked(context, shape, &lists, limits)?,
        filter: argument(context, "where"),
        first: first(argument(context, "first").as_ref(), limits)?,
    };
    predicate(shape, asked.filter.as_ref(), limits)?;
    let since = match argument(context, "since") {
        Some(value) => Some(version(&value, "since")?),
        None => None,
    };
    let catalog = state.service().engine.catalog(&who).await?;
    let resumes = state.resumes();
    let begin = resumes.map(|(_, read)| read).or(since);
    let begin = begin.unwrap_or(catalog.shown_at(&shape.name)?);
    let since = resumes.map(|(told, _)| told).or(since);
    let following = Following { state: state.clone(), who, shape: shape.clone(), filter: None };
    let changes = Box::pin(follow(following, Some(begin))).await?;
    // What it took to come here was let go, as nobody knows for how long a subscription is.
    let turn = state.service().turn(state.principal());
    state.hold(crate::service::in_time(limits.operation_time_max, turn).await?);
    let before = asked.at(begin).await?;
    if since.is_some() {
        // Nothing is told yet, and what was warned of is nothing to those who share what comes.
        drop((state.let_go(), state.warnings.take()));
    } else {
        state.is_about(begin);
    }
    let now = (since.is_none()).then(|| Live {
        version: begin,
        previous: None,
        is_collapsed: false,
        groups: before.clone(),
        before: Arc::default(),
    });
    let later = stream::try_unfold(
        (changes.boxed(), asked, before),
        |(mut changes, asked, before)| async move {
            let Some(change) = changes.next().await.transpose()? else { return Ok(None) };
            let groups = asked.at(change.to).await.map_err(|error| asked.later(error, &change))?;
            let live = Live {
                version: change.to,
                previous: Some(change.from),
                is_collapsed: change.is_collapsed(),
                groups: groups.clone(),
                before,
            };
            Ok(Some((live, (changes, asked, groups))))
        },
    );
    Ok(stream::iter(now.map(Ok)).chain(later).boxed())
}
