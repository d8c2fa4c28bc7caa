//! Measures and dimensions that a spec declares: in groups, live, for who sees a part, and when they change.

use async_graphql::Request;
use datasets::DatasetSpec;
use engine::{GrantSet, Grants, Principal};
use serde_json::{Value, json};

use super::{Rig, next, who};

/// A dataset that the query cases have beside `calls`.
pub(super) const NAME: &str = "sales";

const SALES: &str = r#"
name = "sales"
key = ["id"]
time_column = "at"
columns = [
    {name = "id", type = "int32"},
    {name = "at", type = "timestamp"},
    {name = "shop", type = "text", nullable = true},
    {name = "cost", type = "float64", nullable = true},
    {name = "price", type = "decimal(12,2)", nullable = true},
    {name = "pieces", type = "int64", nullable = true},
    {name = "is_open", type = "bool", nullable = true},
]
dimensions = [
    {name = "size", expression = "case when pieces >= 3 then 'large' when pieces is not null then 'small' end"},
    {name = "day", expression = "date_trunc('day', at)"},
    {name = "unit_price", expression = "price / pieces", unit = "eur"},
]
measures = [
    {name = "cost_per_sale", expression = "sum(cost) / count(*)", unit = "eur", description = "What a sale costs.", format = "currency", decimals = 2},
    {name = "open_share", expression = "count(*) filter (where is_open) / count(*)", format = "percent"},
    {name = "cost_per_open", expression = "sum(cost) / count(*) filter (where is_open)"},
    {name = "revenue", expression = "sum(price)"},
    {name = "large_sales", expression = "count(*) filter (where size = 'large')"},
    {name = "large_cost_share", expression = "sum(cost) filter (where size = 'large') / sum(cost)"},
    {name = "last_at", expression = "max(at)"},
]
"#;

/// Sales of shops, of which one sold nothing that is open; some without pieces, some of none.
const ROWS: &str = r#"
{"id": 1, "at": "2026-03-01T08:00:00Z", "shop": "bonn", "cost": 1.5, "price": "10.00", "pieces": 4, "is_open": true}
{"id": 2, "at": "2026-03-01T09:00:00Z", "shop": "bonn", "cost": 2.5, "price": "4.50", "pieces": 1, "is_open": false}
{"id": 3, "at": "2026-03-01T10:30:00Z", "shop": "ulm", "cost": 8.25, "price": "20.10", "pieces": 3}
{"id": 4, "at": "2026-03-02T08:00:00Z", "shop": "ulm", "cost": 0.75, "price": "3.33", "pieces": 0, "is_open": false}
{"id": 5, "at": "2026-03-02T12:00:00Z", "cost": 4.0, "pieces": 2, "is_open": true}
{"id": 6, "at": "2026-03-04T08:00:00Z", "shop": "trier", "price": "7.00", "is_open": true}
{"id": 7, "at": "2026-03-04T09:00:00Z", "shop": "trier", "cost": 3.0, "price": "9.99", "pieces": 9, "is_open": true}
{"id": 8, "at": "2026-04-01T00:00:00Z", "shop": "bonn", "cost": 6.0, "price": "5.00", "pieces": 2}
{"id": 9, "at": "2026-04-01T00:00:01Z", "shop": "köln", "cost": 2.0, "price": "1.00", "pieces": 5, "is_open": false}
"#;

/// Creates it, with its rows.
pub(super) async fn create(rig: &Rig) {
    rig.create(DatasetSpec::from_toml(SALES, "test").unwrap()).await;
    rig.ingest(NAME, ROWS.trim_start()).await;
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    create(&rig).await;
    rig
}

fn reader(set: Value) -> Principal {
    let set: GrantSet = serde_json::from_value(set).unwrap();
    Principal { grants: Grants::limited(set, Default::default()).unwrap(), ..who() }
}

#[tokio::test]
async fn the_schema_says_what_a_measure_is() {
    let rig = rig().await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    for part in [
        "What a sale costs. (float64, in eur: sum(cost) / count(*))",
        "costPerSale(",
        "costPerSale: NumberCondition",
        "costPerSale: OrderDirection",
        "lastAt: OrderDirection",
        "UNIT_PRICE",
        "size: StringFilter",
    ] {
        assert!(sdl.contains(part), "{part}");
    }
    assert!(!sdl.contains("lastAt: NumberCondition"));
}

#[tokio::test]
async fn graphql_and_sql_give_the_same() {
    let rig = rig().await;
    let session = rig.engine.session(&who(), &[]).await.unwrap();
    let sql = "SELECT size, measure(cost_per_sale) AS c, measure(open_share) FILTER (WHERE shop = 'bonn') AS o FROM sales \
               WHERE unit_price < 6 GROUP BY size ORDER BY size";
    let rows = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&rows.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    let mut found: Value = serde_json::from_slice(&writer.into_inner()).unwrap();
    for row in found.as_array_mut().unwrap() {
        // What is null is left out there.
        let row = row.as_object_mut().unwrap();
        for name in ["size", "c", "o"] {
            row.entry(name).or_insert(Value::Null);
        }
    }
    let query = "{ salesGroups(groupBy: [SIZE], where: {unitPrice: {lt: 6}}) { nodes { size c: costPerSale o: openShare(where: {shop: {eq: \"bonn\"}}) } } }";
    assert_eq!(rig.data(query).await["salesGroups"]["nodes"], found);
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
}

#[tokio::test]
async fn who_sees_a_part_has_measures_of_that_part_and_none_of_what_is_hidden() {
    let rig = rig().await;
    let hidden = reader(json!({"datasets": {"sales": {"masks": {"cost": "hide"}}}}));
    let sdl = rig.service.sdl(&hidden).await.unwrap();
    assert!(sdl.contains("openShare"));
    for gone in ["costPerSale", "costPerOpen", "largeCostShare", "\tcost:", "sum(cost) filter"] {
        assert!(!sdl.contains(gone), "{gone}");
    }
    let query = "{ dataset(name: \"sales\") { spec measures { name expression } } }";
    let answer = rig.ask_as(&hidden, Request::new(query)).await["data"].to_string();
    assert!(answer.contains("open_share") && !answer.contains("cost"), "{answer}");
    let ask = "{ salesGroups { nodes { costPerSale } } }";
    let answer = rig.ask_as(&hidden, Request::new(ask)).await;
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("costPerSale"), "{answer}");

    let part = reader(json!({"datasets": {"sales": {
        "rows": "shop = 'bonn'", "masks": {"cost": "bucket 2", "pieces": "bucket 10"},
    }}}));
    let ask = "{ salesGroups(groupBy: [SIZE]) { nodes { size count costPerSale } } }";
    let answer = rig.ask_as(&part, Request::new(ask)).await;
    // Costs of 1.5, 2.5 and 6 are shown as 0, 2 and 6.
    let expected = json!([{"size": "small", "count": "3", "costPerSale": 8.0 / 3.0}]);
    assert_eq!(answer["data"]["salesGroups"]["nodes"], expected, "{answer}");
}

#[tokio::test]
async fn what_is_declared_changes_while_a_server_runs() {
    let rig = rig().await;
    let declare = "mutation { declareMeasure(dataset: \"sales\", name: \"per_piece\", expression: \"sum(cast(cost as double)) / sum(pieces)\", unit: \"eur\", \
                   format: CURRENCY, decimals: 3) { version rows } declareDimension(dataset: \"sales\", name: \"town\", expression: \"upper(shop)\") { version } }";
    let changed = rig.data(declare).await;
    assert_eq!(changed["declareMeasure"]["rows"], "0");
    let ask = "{ salesGroups(groupBy: [TOWN], where: {town: {startsWith: \"B\"}}) { nodes { town perPiece sum { cost } costPerOpen } } }";
    let expected = json!([{"town": "BONN", "perPiece": 10.0 / 7.0, "sum": {"cost": 10.0}, "costPerOpen": 10.0}]);
    assert_eq!(rig.data(ask).await["salesGroups"]["nodes"], expected);
    let message = async |query: &str| {
        let answer = rig.ask(query).await;
        answer["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    };
    for (change, says) in [
        (
            "declareMeasure(dataset: \"sales\", name: \"x\", expression: \"sum(costs)\")",
            "\"costs\" is no column; did you mean cost",
        ),
        (
            "declareMeasure(dataset: \"sales\", name: \"x\", expression: \"sum(cost)\", decimals: 99)",
            "99 decimals; expected at most 12",
        ),
        (
            "declareDimension(dataset: \"sales\", name: \"cost\", expression: \"pieces\")",
            "there is a column of this name",
        ),
        ("undeclare(dataset: \"sales\", name: \"towm\")", "did you mean town?"),
        (
            "undeclare(dataset: \"sales\", name: \"size\")",
            "measure \"large_sales\": \"size\" is no column",
        ),
        (
            "dropColumn(dataset: \"sales\", column: \"cost\")",
            "is made of it; change or drop that first",
        ),
        (
            "addColumn(dataset: \"sales\", column: \"per_piece\", type: \"text\")",
            "measure \"per_piece\": there is a column of this name",
        ),
    ] {
        let told = message(&format!("mutation {{ {change} {{ version }} }}")).await;
        assert!(told.contains(says), "{change}: {told}");
    }
    rig.data("mutation { undeclare(dataset: \"sales\", name: \"per_piece\") { version } }").await;
    assert!(message(ask).await.contains("perPiece"));
}

#[tokio::test]
async fn measures_are_told_live() {
    let rig = rig().await;
    let query = "subscription { salesGroupsLive(groupBy: [SIZE], where: {shop: {eq: \"bonn\"}}) { nodes { size costPerSale } changed { size costPerSale } } }";
    let mut messages = rig.subscribe(query).await;
    let first = next(&mut messages).await["data"]["salesGroupsLive"].clone();
    let expected =
        json!([{"size": "large", "costPerSale": 1.5}, {"size": "small", "costPerSale": 4.25}]);
    assert_eq!(first["nodes"], expected);
    rig.ingest(NAME, "{\"id\": 20, \"at\": \"2026-05-01T00:00:00Z\", \"shop\": \"bonn\", \"cost\": 0.5, \"pieces\": 3}\n").await;
    let second = next(&mut messages).await["data"]["salesGroupsLive"].clone();
    assert_eq!(second["changed"], json!([{"size": "large", "costPerSale": 1.0}]), "{second}");
}
