//! `node(id:)` and `nodes(ids:)`: rows by ids that are theirs among all rows of all datasets.
//!
//! An id is opaque: the dataset and the values of its key, with a digest over the tenant. It is no secret and grants nothing, since
//! rows are read as by any other field. What is damaged, of another tenant or a dataset that is not seen, or names no row, is as
//! what is not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Interface, InterfaceField, ResolverContext, TypeRef,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datasets::ColumnType;
use engine::{DatasetEntry, Error, Result, TenantId};
use sha2::{Digest, Sha256};

use super::related::{Loading, leading};
use super::resolve::{argument, nullable, state};
use super::row::{Block, RowRef, row_value, selected};
use crate::error::{over_limit, to_graphql};
use crate::links::Links;
use crate::plan::by_key::read_by_key;
use crate::shape::Shape;

/// The interface of rows that have an id. It is not called `Node`: one of that name has a field `id` for Relay, whose compiler ends at
/// any other, and `id` is a column of most datasets.
pub(crate) const NODE: &str = "RowNode";
/// The field that has it. No column has it.
pub(crate) const NODE_ID: &str = "nodeId";
/// Ids of one field.
const IDS_MAX: usize = 100;
/// Longest id in bytes: keys are short.
const ID_BYTES_MAX: usize = 4 << 10;
const DIGEST_BYTES: usize = 8;

/// Datasets whose rows have ids.
pub(crate) type Nodes = HashMap<String, Arc<Shape>>;

/// Whether rows of a dataset have ids: those that a key names, as it is.
pub(crate) fn has_ids(entry: &DatasetEntry, shape: &Shape) -> bool {
    let floats = [ColumnType::Float32, ColumnType::Float64];
    let is_whole = shape.key.len() == entry.spec.key.len();
    let mut key = shape.key.iter().map(|column| &shape.columns[*column]);
    is_whole
        && !shape.key.is_empty()
        && key.all(|it| !floats.contains(&it.kind) && !entry.masked.contains(&it.name))
}

/// `RowNode`.
pub(crate) fn interface() -> Interface {
    Interface::new(NODE).description("A row of a dataset with a key.").field(
        InterfaceField::new(NODE_ID, TypeRef::named_nn(TypeRef::ID))
            .description("Its id among all rows of all datasets, for `node`."),
    )
}

/// The field `nodeId` of a row.
pub(crate) fn id_field(shape: &Arc<Shape>) -> Field {
    let shape = shape.clone();
    Field::new(NODE_ID, TypeRef::named_nn(TypeRef::ID), move |context| {
        let id = state(context.ctx).and_then(|state| {
            let row = context.parent_value.try_downcast_ref::<RowRef>();
            let row = row.map_err(|error| Error::internal(error.message))?;
            let key = shape.key.iter().map(|column| {
                let values = row.block.columns.get(column);
                let value = values.and_then(|values| values.get(row.row)).cloned();
                value.ok_or_else(|| Error::internal("a key that was not read is shown"))
            });
            encode(state.tenant(), &shape, key.collect::<Result<Vec<_>>>()?)
        });
        match id {
            Ok(id) => FieldFuture::from_value(Some(Value::from(id))),
            Err(error) => {
                let error = to_graphql(&error);
                FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) })
            }
        }
    })
    .description("Its id among all rows of all datasets, for `node`.")
}

/// The query fields `node` and `nodes`.
pub(crate) fn node_fields(nodes: &Arc<Nodes>, links: &Arc<Links>) -> [Field; 2] {
    let (nodes_of, links_of) = (nodes.clone(), links.clone());
    let one = Field::new("node", TypeRef::named(NODE), move |context| {
        let (nodes, links, inner) = (nodes_of.clone(), links_of.clone(), context.ctx);
        nullable(inner, async move {
            let ids = argument(&context, "id").into_iter().collect();
            Ok(read(&context, &nodes, &links, ids, "node").await?.pop().flatten())
        })
    })
    .description("The row with this id; null where there is none, or none that you see.")
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)));
    let (nodes, links) = (nodes.clone(), links.clone());
    let many = Field::new("nodes", TypeRef::named_nn_list(NODE), move |context| {
        let (nodes, links, inner) = (nodes.clone(), links.clone(), context.ctx);
        nullable(inner, async move {
            let ids = match argument(&context, "ids") {
                Some(Value::List(ids)) => ids,
                other => other.into_iter().collect(),
            };
            let found = read(&context, &nodes, &links, ids, "nodes").await?;
            // The library has no place for a null among objects of an interface.
            Ok(Some(FieldValue::list(found.into_iter().flatten())))
        })
    })
    .description(
        "Those rows with these ids that there are, and that you see, in the order of the ids.",
    )
    .argument(
        InputValue::new("ids", TypeRef::named_nn_list_nn(TypeRef::ID))
            .description(format!("Ids, {IDS_MAX} at most.")),
    );
    [one, many]
}

async fn read(
    context: &ResolverContext<'_>,
    nodes: &Nodes,
    links: &Links,
    ids: Vec<Value>,
    field: &str,
) -> Result<Vec<Option<FieldValue<'static>>>> {
    if ids.len() > IDS_MAX {
        return Err(over_limit("ids", IDS_MAX, ids.len()));
    }
    let state = state(context.ctx)?;
    let decoded: Vec<Option<(String, Vec<Value>)>> = ids
        .iter()
        .map(|id| match id {
            Value::String(id) => decode(state.tenant(), id),
            _ => None,
        })
        .collect();
    let mut by_dataset: BTreeMap<&str, Vec<&[Value]>> = BTreeMap::new();
    for (dataset, key) in decoded.iter().flatten() {
        by_dataset.entry(dataset).or_default().push(key);
    }
    let rows = context.ctx.look_ahead().selection_fields();
    let session = state.session(&[]).await?;
    let mut found = HashMap::new();
    for (dataset, keys) in by_dataset {
        let Some(shape) = nodes.get(dataset) else { continue };
        let table = session.table_of_today(&shape.name).await?;
        let asked = (&selected(shape, &rows), &leading(shape, links, &rows)?);
        let holding = state.holding();
        let mut read = read_by_key(&session, table, shape, &keys, asked, holding).await?;
        for (position, count) in &read.not_finite {
            let place = format!("{field}.{}", shape.columns[*position].field);
            state.warnings.not_finite(&place, *count);
        }
        let loading = Loading { state, session: &session, links, place: field };
        let kept = std::mem::take(&mut read.kept);
        let related = loading.related(shape, &kept, rows.clone()).await?;
        let places: Vec<_> = keys.iter().map(|key| (*key, read.place(shape, key))).collect();
        let columns = Arc::new(std::mem::take(&mut read.columns));
        let block = Arc::new(Block { columns, related });
        for (key, place) in places {
            if let Some(row) = place {
                found.insert((dataset, key_text(key)?), (shape.clone(), block.clone(), row));
            }
        }
    }
    decoded
        .iter()
        .map(|id| {
            let Some((dataset, key)) = id else { return Ok(None) };
            let row = found.get(&(dataset.as_str(), key_text(key)?));
            Ok(row
                .map(|(shape, block, row)| row_value(block, *row).with_type(shape.type_of("Row"))))
        })
        .collect()
}

fn key_text(key: &[Value]) -> Result<String> {
    serde_json::to_string(key).map_err(|error| Error::internal(format!("a key as text: {error}")))
}

fn digest(tenant: &TenantId, body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    let tenant = tenant.to_string();
    hash.update((tenant.len() as u64).to_le_bytes());
    hash.update(tenant.as_bytes());
    hash.update(body);
    hash.finalize()[..DIGEST_BYTES].to_vec()
}

fn encode(tenant: &TenantId, shape: &Shape, key: Vec<Value>) -> Result<String> {
    let body =
        key_text(&std::iter::once(shape.name.as_str().into()).chain(key).collect::<Vec<_>>())?;
    let mut bytes = digest(tenant, body.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The dataset and the key of an id.
fn decode(tenant: &TenantId, id: &str) -> Option<(String, Vec<Value>)> {
    let bytes = URL_SAFE_NO_PAD.decode(id).ok().filter(|_| id.len() <= ID_BYTES_MAX)?;
    let (found, body) = bytes.split_at_checked(DIGEST_BYTES)?;
    if digest(tenant, body) != found {
        return None;
    }
    let mut parts: Vec<Value> = serde_json::from_slice(body).ok()?;
    // All are scalars.
    if parts.is_empty() || parts.iter().any(|it| matches!(it, Value::List(_) | Value::Object(_))) {
        return None;
    }
    match parts.remove(0) {
        Value::String(dataset) => Some((dataset, parts)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_comes_back_in_its_own_tenant_alone() {
        let text = "name = \"calls\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"text\"}]";
        let shape = Shape::new(&datasets::DatasetSpec::from_toml(text, "test").unwrap());
        let tenants = ["a", "b"].map(|tenant| tenant.parse::<TenantId>().unwrap());
        let key = vec![Value::from("c\"1")];
        let id = encode(&tenants[0], &shape, key.clone()).unwrap();
        assert_eq!(decode(&tenants[0], &id), Some(("calls".to_owned(), key)));
        assert_eq!(decode(&tenants[1], &id), None);
        for place in 0..id.len() {
            let mut damaged = id.clone().into_bytes();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            // The last letter may hold bits that mean nothing.
            assert!(decode(&tenants[0], &damaged).is_none() || place + 1 == id.len(), "{damaged}");
        }
        for forged in ["", "A", "%%%", "AAAAAAAAAAAAAAAA"] {
            assert_eq!(decode(&tenants[0], forged), None);
        }
        for body in ["[]", "{}", "[1]", "[\"calls\",[1]]", "nonsense"] {
            let mut bytes = digest(&tenants[0], body.as_bytes());
            bytes.extend_from_slice(body.as_bytes());
            assert_eq!(decode(&tenants[0], &URL_SAFE_NO_PAD.encode(bytes)), None, "{body}");
        }
    }
}
