//! Pages put together are the whole, whatever the data and the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::Int64Type;
use datasets::DatasetSpec;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::rows::lines;
use super::{Rig, cast_to};

const DIRECTIONS: [&str; 4] = ["ASC", "DESC", "ASC_NULLS_FIRST", "DESC_NULLS_FIRST"];

fn spec(name: &str, key: &str) -> DatasetSpec {
    DatasetSpec::from_toml(
        &format!(
            r#"
            name = "{name}"
            {key}
            columns = [
                {{name = "k", type = "int64"}},
                {{name = "n", type = "int64", nullable = true}},
                {{name = "f", type = "float64", nullable = true}},
                {{name = "t", type = "text", nullable = true}},
                {{name = "b", type = "bool", nullable = true}},
                {{name = "l", type = "list(int64)", nullable = true}},
            ]
            "#
        ),
        "pages",
    )
    .unwrap()
}

/// Few different values, so that most rows have equals in some columns and many in all.
fn random_rows(random: &mut ChaCha8Rng, rows: usize) -> RecordBatch {
    let floats = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.5, -2.5];
    let texts = ["", "a", "B", "é", "aa", "%"];
    let mut column = |make: &mut dyn FnMut(&mut ChaCha8Rng)| {
        for _ in 0..rows {
            make(random);
        }
    };
    let (mut k, mut n, mut f) = (Vec::new(), Vec::new(), Vec::new());
    let (mut t, mut b, mut l) = (Vec::new(), Vec::new(), Vec::new());
    column(&mut |r| k.push(r.random_range(0..6i64)));
    column(&mut |r| n.push(r.random_bool(0.7).then(|| r.random_range(-2..3i64))));
    column(&mut |r| f.push(r.random_bool(0.8).then(|| *floats.choose(r).unwrap())));
    column(&mut |r| t.push(r.random_bool(0.8).then(|| *texts.choose(r).unwrap())));
    column(&mut |r| b.push(r.random_bool(0.8).then(|| r.random_bool(0.5))));
    column(&mut |r| {
        l.push(
            r.random_bool(0.8).then(|| vec![Some(r.random_range(0..2i64)); r.random_range(0..3)]),
        );
    });
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(k)),
        Arc::new(Int64Array::from(n)),
        Arc::new(Float64Array::from(f)),
        Arc::new(StringArray::from(t)),
        Arc::new(BooleanArray::from(b)),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(l)),
    ];
    cast_to(&spec("pages", "").arrow_schema(), columns)
}

fn counted(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.to_string()).or_default() += 1;
    }
    counts
}

/// Of these rows the reader of a file left the condition out by which a page goes on.
const LEFT_OUT: u64 = 9_673_977_259_650_781_184;

#[tokio::test]
async fn pages_put_together_are_the_whole_in_order_and_at_one_version() {
    let seed: u64 = std::env::var("SEED").ok().map_or_else(rand::random, |s| s.parse().unwrap());
    for seed in [LEFT_OUT, seed] {
        put_pages_together(seed).await;
    }
}

async fn put_pages_together(seed: u64) {
    eprintln!("SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rig = Rig::new().await;
    for (name, key) in [("keyed", "key = [\"k\"]"), ("unkeyed", "")] {
        rig.create(spec(name, key)).await;
        for _ in 0..3 {
            let rows = random_rows(&mut random, 14);
            rig.append(name, vec![rows]).await;
        }
        for _ in 0..4 {
            check_pages(&rig, &mut random, name).await;
        }
    }
}

async fn check_pages(rig: &Rig, random: &mut ChaCha8Rng, dataset: &str) {
    let mut columns = vec!["k", "n", "f", "t", "b"];
    let mut order = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let column = columns.remove(random.random_range(0..columns.len()));
        order.push(format!("{{{column}: {}}}", DIRECTIONS.choose(random).unwrap()));
    }
    let order = format!("[{}]", order.join(", "));
    let filter = ["{}", "{n: {isNull: false}}", "{or: [{t: {eq: \"a\"}}, {f: {gt: 0}}]}"];
    let filter = filter.choose(random).unwrap();
    let size = random.random_range(2..12);
    let arguments = format!("where: {filter}, orderBy: {order}");
    let whole = rig
        .data(&format!(
            "{{ {dataset}(first: 1000, {arguments}) {{ version totalCount nodes {{ k n f t b l }} }} }}"
        ))
        .await;
    let whole = &whole[dataset];
    let version = &whole["version"].clone();
    let expected = whole["nodes"].as_array().unwrap();
    assert_eq!(whole["totalCount"], json!(expected.len().to_string()));
    // The order's columns alone are read too: fewer columns must not change the pages.
    let shown = ["k n f t b l", "k", "t l"].choose(random).unwrap();
    let mut question = Question { dataset, arguments: &arguments, shown, size, version };
    for is_backward in [false, true] {
        let pages = question.walk(rig, random, is_backward, expected.len()).await;
        check_pages_of(&pages, expected, &order, &format!("{dataset} {arguments} by {size}"));
    }
    let pages = question.walk_lines(rig).await;
    let all = format!(
        "{{ {dataset}(first: 1000, asOf: {{version: {version}}}, {arguments}) {{ nodes {{ k n f t b l }} }} }}"
    );
    let (_, expected) = lines(rig, &all).await;
    check_pages_of(&pages, &expected, &order, &format!("lines of {dataset} {arguments} by {size}"));
    // There and back again: the rows before a row are those that came before it.
    question.size = random.random_range(1..5);
    question.turn(rig, random).await;
}

/// Pages of one dataset, filter and order.
struct Question<'a> {
    dataset: &'a str,
    arguments: &'a str,
    shown: &'a str,
    size: usize,
    version: &'a Value,
}

impl Question<'_> {
    async fn page(&self, rig: &Rig, is_backward: bool, cursor: &Value) -> Value {
        let Self { dataset, arguments, shown, size, version } = self;
        let (rows, from) = if is_backward { ("last", "before") } else { ("first", "after") };
        // The first page says which version, and its cursors from then on.
        let as_of = match cursor.is_null() {
            true => format!("asOf: {{version: {version}}}, "),
            false => String::new(),
        };
        let query = format!(
            "query($from: String) {{ {dataset}({rows}: {size}, {from}: $from, {as_of}{arguments}) {{ version \
             nodes {{ {shown} }} edges {{ cursor node {{ k n f t b l }} }} pageInfo {{ endCursor \
             hasNextPage hasPreviousPage startCursor }} }} }}"
        );
        let answer = rig.ask_with(&query, json!({ "from": cursor })).await;
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        let page = answer["data"][*dataset].clone();
        assert_eq!(&page["version"], *version, "{query}");
        let (info, edges) = (&page["pageInfo"], page["edges"].as_array().unwrap());
        let continues = if is_backward { "hasNextPage" } else { "hasPreviousPage" };
        assert_eq!(info[continues], json!(!cursor.is_null()));
        let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |e| e["cursor"].clone());
        assert_eq!(info["startCursor"], cursor(edges.first()));
        assert_eq!(info["endCursor"], cursor(edges.last()));
        page
    }

    /// All rows, in their order, whichever way they are gone through.
    async fn walk(
        &self,
        rig: &Rig,
        random: &mut ChaCha8Rng,
        is_backward: bool,
        most: usize,
    ) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), Value::Null);
        let more = if is_backward { "hasPreviousPage" } else { "hasNextPage" };
        loop {
            let page = self.page(rig, is_backward, &cursor).await;
            let mut edges = page["edges"].as_array().unwrap().clone();
            if is_backward {
                edges.reverse();
            }
            let has_more = page["pageInfo"][more] == json!(true);
            assert!(!has_more || edges.len() == self.size);
            // Any row's cursor continues, not the last one's only.
            if has_more {
                edges.truncate(random.random_range(1..=edges.len()));
            }
            rows.extend(edges.iter().map(|edge| edge["node"].clone()));
            if !has_more {
                break;
            }
            cursor = edges.last().unwrap()["cursor"].clone();
            assert!(rows.len() <= most, "more rows in pages than in the whole: {}", self.arguments);
            if random.random_bool(0.1) {
                // A page never shifts, whatever is committed meanwhile.
                rig.append(self.dataset, vec![random_rows(random, 3)]).await;
            }
        }
        if is_backward {
            rows.reverse();
        }
        rows
    }

    /// All rows, in their order, in pages that are streamed.
    async fn walk_lines(&self, rig: &Rig) -> Vec<Value> {
        let Self { dataset, arguments, size, version, .. } = self;
        let (mut rows, mut from) = (Vec::new(), format!("asOf: {{version: {version}}}"));
        loop {
            let query = format!(
                "{{ {dataset}(first: {size}, {from}, {arguments}) {{ nodes {{ k n f t b l }} }} }}"
            );
            let (about, page) = lines(rig, &query).await;
            assert_eq!((json!(about.version.0), about.rows), ((*version).clone(), page.len()));
            rows.extend(page);
            match about.end_cursor.filter(|_| about.has_next) {
                Some(cursor) => from = format!("after: \"{cursor}\""),
                None => return rows,
            }
        }
    }

    async fn turn(&self, rig: &Rig, random: &mut ChaCha8Rng) {
        let (mut before, mut cursor) = (Vec::new(), Value::Null);
        for _ in 0..random.random_range(1..6) {
            let page = self.page(rig, false, &cursor).await;
            let edges = page["edges"].as_array().unwrap().clone();
            if edges.is_empty() {
                break;
            }
            cursor = edges.last().unwrap()["cursor"].clone();
            before.extend(edges);
        }
        before.pop();
        // Rows that are alike have no order but by their cursors.
        let mut back = Vec::new();
        while !cursor.is_null() {
            let page = self.page(rig, true, &cursor).await;
            let edges = page["edges"].as_array().unwrap().clone();
            cursor = edges.first().map_or(Value::Null, |edge| edge["cursor"].clone());
            back.extend(edges.into_iter().rev());
        }
        back.reverse();
        let nodes = |edges: &[Value]| edges.iter().map(|e| e["node"].clone()).collect::<Vec<_>>();
        assert_eq!(nodes(&back), nodes(&before), "{} {}", self.dataset, self.arguments);
    }
}

fn check_pages_of(pages: &[Value], expected: &[Value], order: &str, what: &str) {
    assert_eq!(counted(pages), counted(expected), "{what}");
    assert_eq!(pages.len(), expected.len());
    for (paged, whole) in pages.iter().zip(expected) {
        for term in order.trim_matches(['[', ']']).split(", ").filter(|term| !term.is_empty()) {
            let column = term.trim_matches(['{', '}']).split(':').next().unwrap();
            assert_eq!(paged[column], whole[column], "{what}");
        }
    }
}

#[tokio::test]
async fn a_cursor_continues_its_own_question_only() {
    let rig = Rig::with_calls().await;
    let page =
        rig.data("{ calls(first: 2, orderBy: [{at: DESC}]) { pageInfo { endCursor } } }").await;
    let cursor = page["calls"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    let next = format!(
        "{{ calls(first: 2, orderBy: [{{at: DESC}}], after: \"{cursor}\") {{ nodes {{ id }} }} }}"
    );
    let ids = |data: Value| {
        let nodes = data["calls"]["nodes"].as_array().unwrap().clone();
        nodes.into_iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(rig.data(&next).await), ["c7", "c6"]);
    let wrong = [
        ("calls", "orderBy: [{at: ASC}]", cursor.clone()),
        ("calls", "orderBy: [{at: DESC}], where: {isOk: {eq: true}}", cursor.clone()),
        ("calls", "orderBy: [{at: DESC}], asOf: {version: 0}", cursor.clone()),
        ("calls", "orderBy: [{at: DESC}]", cursor[1..].to_owned()),
        ("calls", "orderBy: [{at: DESC}]", "AAAA".to_owned()),
    ];
    for (field, arguments, cursor) in wrong {
        let query = format!("{{ {field}({arguments}, after: \"{cursor}\") {{ nodes {{ id }} }} }}");
        let answer = rig.ask(&query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{query}\n{answer:#}");
        assert_eq!(answer["errors"][0]["path"], json!(["calls"]));
    }
}

#[tokio::test]
async fn columns_that_nobody_asked_for_are_not_read() {
    // A page by a unique key needs the key and what is shown; the plan says so.
    let rig = Rig::with_calls().await;
    let shape = crate::shape::Shape::new(&super::calls_spec());
    let session = rig.engine.session(&super::who(), &[]).await.unwrap();
    let table = session.table(&super::name("calls")).await.unwrap();
    let order = crate::plan::order::terms(&shape, None).unwrap();
    let sort = order
        .iter()
        .map(|t| t.direction.sort(crate::plan::order::sort_key(&shape.columns[t.column])));
    let frame = table
        .sort(sort.collect())
        .unwrap()
        .limit(0, Some(3))
        .unwrap()
        .select(vec![crate::plan::order::by_name("id"), crate::plan::order::by_name("model")])
        .unwrap();
    let plan = frame.into_optimized_plan().unwrap().display_indent().to_string();
    assert!(plan.contains("projection=[id, model]"), "{plan}");
}
