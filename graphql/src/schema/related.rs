//! `related`: rows of other datasets that a row is related to, and those that are related to it.
//!
//! All of a page are read before its first row is shown, a relation at a time, for all rows at once (`plan/related`), in the session
//! that the page was read in. So an error is one of the page, and no row waits for a query of its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::ArrayRef;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef,
};
use async_graphql::{Lookahead, Name, SelectionField, Value};
use datasets::DatasetName;
use engine::{AsOf, Result, Session};
use futures::future::BoxFuture;

use super::connection::rows_asked;
use super::resolve::part;
use super::row::{Block, RowRef, row_value, row_values, selected};
use super::scalars;
use crate::error::bad_input;
use crate::limits::Limits;
use crate::links::{Link, Links};
use crate::plan::order::terms;
use crate::plan::predicate::predicate;
use crate::plan::related::{OfParent, RelatedRequest, read_related};
use crate::request::RequestState;
use crate::shape::Shape;

/// The field of a row. No column has it.
pub(crate) const RELATED: &str = "related";
/// Rows of each parent when `first` is absent.
const ROWS_DEFAULT: usize = 10;

/// How many rows of each parent are given when it is not said.
pub(crate) fn rows_default(limits: &Limits) -> usize {
    ROWS_DEFAULT.min(limits.page_rows_max)
}

/// Related rows of a block, by the keys in the answer of `related` and of the relation.
pub(crate) type Related = HashMap<String, HashMap<String, Arc<RelatedBlock>>>;

/// What one relation leads to from the rows of a block.
pub(crate) struct RelatedBlock {
    rows: Arc<Block>,
    parents: Vec<OfParent>,
}

/// The related rows of one row.
struct RelatedRef {
    block: Arc<Block>,
    row: usize,
    key: String,
}

/// Rows of a list.
struct ListRef {
    related: Arc<RelatedBlock>,
    of: OfParent,
}

/// The field `related` of a row, where it has relations.
pub(crate) fn related_field(shape: &Shape, links: &Links) -> Option<Field> {
    (!links.of(&shape.name).is_empty()).then(|| {
        Field::new(RELATED, TypeRef::named_nn(shape.type_of("Related")), |context| {
            match context.parent_value.try_downcast_ref::<RowRef>() {
                Ok(RowRef { block, row }) => {
                    let related =
                        RelatedRef { block: block.clone(), row: *row, key: key_of(&context) };
                    FieldFuture::Value(Some(FieldValue::owned_any(related)))
                }
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            }
        })
        .description(
            "Rows that this one is related to, of the version of their datasets that is read.",
        )
    })
}

/// `ModelCallsRelated`, and `ModelCallsRelatedRows` where lists of the dataset's rows are.
pub(crate) fn related_types(shape: &Arc<Shape>, links: &Links, limits: &Limits) -> Vec<Object> {
    let mut types = Vec::new();
    let own = links.of(&shape.name);
    if !own.is_empty() {
        let related = Object::new(shape.type_of("Related"))
            .description(format!("Rows that one of {} is related to.", shape.name));
        types.push(
            own.iter().fold(related, |related, link| related.field(link_field(link, limits))),
        );
    }
    if links.all().any(|link| !link.is_one && link.to.name == shape.name) {
        types.push(list_type(shape));
    }
    types
}

fn key_of(context: &ResolverContext<'_>) -> String {
    let field = context.ctx.field();
    field.alias().unwrap_or(field.name()).to_owned()
}

fn link_field(link: &Link, limits: &Limits) -> Field {
    let is_one = link.is_one;
    let kind = match is_one {
        true => TypeRef::named(link.to.type_of("Row")),
        false => TypeRef::named_nn(link.to.type_of("RelatedRows")),
    };
    let field = Field::new(&link.field, kind, move |context| {
        let parent = match context.parent_value.try_downcast_ref::<RelatedRef>() {
            Ok(parent) => parent,
            Err(error) => {
                return FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) });
            }
        };
        let found = parent.block.related.get(&parent.key);
        let related = found.and_then(|related| related.get(&key_of(&context)));
        let Some(related) = related else {
            let error = engine::Error::internal("a relation that was not read is shown");
            let error = crate::error::to_graphql(&error);
            return FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) });
        };
        let of = related.parents.get(parent.row).copied().unwrap_or_default();
        FieldFuture::Value(match (is_one, of.rows) {
            (true, 0) => None,
            (true, _) => Some(row_value(&related.rows, of.begin)),
            (false, _) => Some(FieldValue::owned_any(ListRef { related: related.clone(), of })),
        })
    });
    let field = field.description(&link.description);
    if is_one {
        return field;
    }
    let mut field = field
        .argument(InputValue::new("where", TypeRef::named(link.to.type_of("Where"))))
        .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).description(format!(
            "Rows of each at most: {} when absent, {} at most.",
            rows_default(limits),
            limits.page_rows_max
        )));
    if link.to.columns.iter().any(|column| column.is_sortable()) {
        let kind = TypeRef::named_nn_list(link.to.type_of("OrderBy"));
        field = field.argument(InputValue::new("orderBy", kind).description(
            "Columns to order by, first first. The key is added at the end; without key and orderBy \
             it is the time column.",
        ));
    }
    field
}

fn list_type(shape: &Shape) -> Object {
    Object::new(shape.type_of("RelatedRows"))
        .description(format!("Rows of {} that are related to one row.", shape.name))
        .field(
            part("totalCount", TypeRef::named_nn(scalars::BIG_INT), |list: &ListRef| {
                Ok(Value::from(list.of.total.to_string()))
            })
            .description("All that `where` takes. Computed only when selected."),
        )
        .field(
            part("hasMore", TypeRef::named_nn(TypeRef::BOOLEAN), |list: &ListRef| {
                Ok(Value::from(list.of.has_more))
            })
            .description("Whether there are more than `first`."),
        )
        .field(Field::new("nodes", TypeRef::named_nn_list_nn(shape.type_of("Row")), |context| {
            match context.parent_value.try_downcast_ref::<ListRef>() {
                Ok(ListRef { related, of }) => {
                    let rows = row_values(&related.rows, of.begin..of.begin + of.rows);
                    FieldFuture::Value(Some(FieldValue::list(rows)))
                }
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            }
        }))
}

/// What is asked of one relation, under one key of the answer.
struct Asked<'a> {
    link: &'a Link,
    /// The keys of `related` and of the relation.
    keys: (String, String),
    arguments: Vec<(Name, Value)>,
    fields: Vec<SelectionField<'a>>,
}

impl Asked<'_> {
    fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<'a> Asked<'a> {
    /// What is selected of the rows.
    fn rows(&self) -> Vec<SelectionField<'a>> {
        match self.link.is_one {
            true => self.fields.clone(),
            false => self.parts("nodes"),
        }
    }

    fn parts(&self, name: &str) -> Vec<SelectionField<'a>> {
        let looking = Lookahead::try_from(&self.fields[..]);
        looking.map_or_else(|()| Vec::new(), |it| it.field(name).selection_fields())
    }
}

/// The relations that a selection of rows asks for.
fn asked<'a>(
    shape: &Shape,
    links: &'a Links,
    rows: &[SelectionField<'a>],
) -> Result<Vec<Asked<'a>>> {
    let mut all: Vec<Asked<'a>> = Vec::new();
    let key = |field: &SelectionField<'_>| field.alias().unwrap_or(field.name()).to_owned();
    let related = rows.iter().flat_map(SelectionField::selection_set);
    for related in related.filter(|field| field.name() == RELATED) {
        for field in related.selection_set() {
            let own = links.of(&shape.name).iter();
            let Some(link) = own.into_iter().find(|link| link.field == field.name()) else {
                continue;
            };
            let arguments = field.arguments().map_err(|error| bad_input(error.message))?;
            let given = arguments.into_iter().filter(|(_, value)| *value != Value::Null);
            let arguments: Vec<_> = given.collect();
            let keys = (key(&related), key(&field));
            match all.iter_mut().find(|asked| asked.keys == keys) {
                None => all.push(Asked { link, keys, arguments, fields: vec![field] }),
                Some(known) if known.link.field == link.field && known.arguments == arguments => {
                    known.fields.push(field);
                }
                // Of `nodes` and `edges`, and of several `nodes`, each may have its own.
                Some(_) => {
                    return Err(bad_input(format!(
                        "{RELATED}.{}: another relation, or one with other arguments, has this key in the \
                         answer; give one of them an alias of its own",
                        keys.1
                    )));
                }
            }
        }
    }
    Ok(all)
}

/// The columns whose values lead on to the relations that a selection of rows asks for.
pub(crate) fn leading(
    shape: &Shape,
    links: &Links,
    rows: &[SelectionField<'_>],
) -> Result<BTreeSet<usize>> {
    Ok(asked(shape, links, rows)?.iter().map(|asked| asked.link.here).collect())
}

/// The datasets that a selection of rows reads beside its own, each at `pin`.
pub(crate) fn pins(
    shape: &Shape,
    links: &Links,
    rows: &[SelectionField<'_>],
    pin: &AsOf,
    found: &mut Vec<(DatasetName, AsOf)>,
) -> Result<()> {
    // As deep as the query, which is bounded.
    for asked in asked(shape, links, rows)? {
        let to = &asked.link.to;
        if found.iter().all(|(name, _)| *name != to.name) {
            found.push((to.name.clone(), *pin));
        }
        pins(to, links, &asked.rows(), pin, found)?;
    }
    Ok(())
}

/// Reads what rows are related to.
pub(crate) struct Loading<'a> {
    /// The request.
    pub state: &'a RequestState,
    /// The session that the rows were read in.
    pub session: &'a Session,
    /// The relations.
    pub links: &'a Links,
    /// The field of the root, for warnings.
    pub place: &'a str,
}

impl<'a> Loading<'a> {
    /// All that `rows` ask for of rows whose columns lead on by the values `kept`.
    pub(crate) fn related(
        &'a self,
        shape: &'a Shape,
        kept: &'a HashMap<usize, ArrayRef>,
        rows: Vec<SelectionField<'a>>,
    ) -> BoxFuture<'a, Result<Related>> {
        Box::pin(async move {
            let mut related = Related::new();
            for asked in asked(shape, self.links, &rows)? {
                let read = self.one(&asked, kept).await;
                let block = read.map_err(|error| {
                    error.while_doing(format_args!("{RELATED}.{}", asked.link.field))
                })?;
                let (of, key) = asked.keys;
                related.entry(of).or_default().insert(key, Arc::new(block));
            }
            Ok(related)
        })
    }

    async fn one(
        &self,
        asked: &Asked<'a>,
        kept: &HashMap<usize, ArrayRef>,
    ) -> Result<RelatedBlock> {
        let Asked { link, .. } = asked;
        let (to, limits) = (&link.to, &self.state.service().limits);
        let parents = kept
            .get(&link.here)
            .ok_or_else(|| engine::Error::internal("a relation by a column that was not read"))?;
        let rows = asked.rows();
        let request = RelatedRequest {
            column: link.there,
            predicate: predicate(to, asked.argument("where"), limits)?,
            terms: terms(to, asked.argument("orderBy"))?,
            rows: match link.is_one {
                true => 1,
                false => {
                    rows_asked("first", asked.argument("first"), rows_default(limits), limits)?
                }
            },
            counts: !asked.parts("totalCount").is_empty() && !link.is_one,
            columns: selected(to, &rows),
            kept: leading(to, self.links, &rows)?,
        };
        let table = self.session.table_of_today(&to.name).await?;
        let holding = self.state.holding();
        let read = read_related(self.session, table, to, &request, parents, holding).await?;
        for (position, count) in &read.not_finite {
            let column = &to.columns[*position].field;
            let place = format!("{}.{RELATED}.{}.{column}", self.place, link.field);
            self.state.warnings.not_finite(&place, *count);
        }
        let related = self.related(to, &read.kept, rows).await?;
        let rows = Arc::new(Block { columns: Arc::new(read.columns), related });
        Ok(RelatedBlock { rows, parents: read.parents })
    }
}
