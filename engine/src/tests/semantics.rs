//! Measures and dimensions: what a spec may say, what SQL makes of it, and what becomes of it when columns change.

use datasets::{DimensionSpec, MeasureSpec};

use super::*;
use crate::{AsOf, Code, GrantSet, Grants, Measure, Reshape, Semantics, Version, WriteMode};

fn measure(name: &str, expression: &str) -> MeasureSpec {
    let (name, expression) = (name.to_owned(), expression.to_owned());
    let (unit, description) = (None, String::new());
    MeasureSpec { name, expression, unit, description, format: Default::default(), decimals: None }
}

fn dimension(name: &str, expression: &str) -> DimensionSpec {
    let (name, expression) = (name.to_owned(), expression.to_owned());
    DimensionSpec { name, expression, unit: None, description: String::new() }
}

fn spec(dimensions: &[(&str, &str)], measures: &[(&str, &str)]) -> DatasetSpec {
    let dimensions = dimensions.iter().map(|(name, of)| dimension(name, of)).collect();
    let measures = measures.iter().map(|(name, of)| measure(name, of)).collect();
    DatasetSpec { dimensions, measures, validations: vec![], ..calls() }
}

const DIMENSIONS: [(&str, &str); 3] = [
    ("size", "case when tokens >= 50 then 'large' else 'small' end"),
    ("day", "date_trunc('day', at)"),
    ("label", "concat(model, '/', size)"),
];
const MEASURES: [(&str, &str); 5] = [
    ("mean_tokens", "sum(tokens) / count(*)"),
    ("large", "count(*) filter (where size = 'large')"),
    ("large_share", "large / count(*)"),
    ("per_large", "sum(tokens) / large"),
    ("last_at", "max(at)"),
];

async fn filled() -> Engine {
    let engine = Engine::open(options("memory:")).await.unwrap();
    engine.create_dataset(&who(), spec(&DIMENSIONS, &MEASURES)).await.unwrap();
    let rows = vec![rows(0..9)];
    engine.write(&who(), &name("calls"), WriteMode::Append, rows, label("t")).await.unwrap();
    engine
}

async fn asks(engine: &Engine, who: &Principal, sql: &str) -> Result<String> {
    let session = engine.session(who, &[]).await?;
    let frame = session.sql(sql).await?;
    Ok(table(&session.collect(frame).await?))
}

fn cells(line: &str) -> Vec<String> {
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The same by `sql` and `other`.
async fn alike(engine: &Engine, sql: &str, other: &str) {
    let (found, expected) = (query(engine, sql).await, query(engine, other).await);
    let rows = |text: &str| text.lines().skip(3).map(cells).collect::<Vec<_>>();
    let values =
        |text: &str| rows(text).into_iter().filter(|row| row.len() > 1).collect::<Vec<_>>();
    assert_eq!(values(&found), values(&expected), "{sql}\n{found}\n{other}\n{expected}");
}

#[tokio::test]
async fn a_measure_in_sql_is_what_it_says() {
    let engine = filled().await;
    for (sql, other) in [
        (
            "SELECT model, measure(mean_tokens) FROM calls GROUP BY model ORDER BY model",
            "SELECT model, CAST(sum(tokens) AS DOUBLE) / count(*) FROM calls GROUP BY model ORDER BY model",
        ),
        // Whole numbers are divided, too, and by nothing there is no quotient.
        (
            "SELECT model, MEASURE(large_share), measure(per_large) FROM calls WHERE id < 6 GROUP BY 1 ORDER BY 1",
            "SELECT * FROM (VALUES ('m0', 0.0, NULL), ('m1', 0.0, NULL), ('m2', 0.5, 70.0))",
        ),
        (
            "SELECT size, measure(c.mean_tokens) AS m FROM calls c GROUP BY size HAVING measure(mean_tokens) > 30 ORDER BY measure(mean_tokens) DESC",
            "SELECT 'large', 65.0",
        ),
        // All aggregates of a measure see the same rows.
        (
            "SELECT measure(large_share) FILTER (WHERE model = 'm2') FROM calls",
            "SELECT CAST(2 AS DOUBLE) / 3",
        ),
        (
            "SELECT label, count(*) FROM calls WHERE size = 'small' AND day > '2026-01-02' GROUP BY label ORDER BY label",
            "SELECT * FROM (VALUES ('m0/small', 1), ('m1/small', 1), ('m2/small', 1))",
        ),
        (
            "SELECT m FROM (SELECT model, measure(mean_tokens) AS m FROM calls GROUP BY model) AS a JOIN (SELECT 'm1' AS model) AS b USING (model)",
            "SELECT 40.0",
        ),
        (
            "WITH a AS (SELECT measure(mean_tokens) AS m FROM calls) SELECT m FROM a UNION ALL SELECT measure(large_share) FROM calls WHERE model = 'm0' ORDER BY 1",
            "SELECT * FROM (VALUES (0.3333333333333333), (40.0))",
        ),
        (
            "SELECT max(x) FROM (SELECT (SELECT measure(large) FROM calls) AS x FROM calls)",
            "SELECT 4",
        ),
        ("SELECT size FROM calls ORDER BY id LIMIT 1", "SELECT 'small'"),
        (
            "SELECT sum(tokens) AS a, measure(mean_tokens), measure(per_large), sum(tokens) + 1 AS b, count(*) FROM calls",
            "SELECT 360, 40.0, 90.0, 361, 9",
        ),
    ] {
        alike(&engine, sql, other).await;
    }
    let header = query(&engine, "SELECT measure(mean_tokens) FROM calls").await;
    assert!(header.contains("| mean_tokens |"), "{header}");
    // Behind the columns, as those of a view.
    let all = query(&engine, "SELECT * FROM calls LIMIT 1").await;
    let header = cells(all.lines().nth(1).unwrap());
    assert_eq!(header[1..9], ["id", "at", "model", "tokens", "at_month", "size", "day", "label"]);
    assert!(query(&engine, "EXPLAIN SELECT measure(large) FROM calls").await.contains("count"));
    // Whoever reads the table itself reads what is stored.
    let stored = session(&engine).await.table(&name("calls")).await.unwrap();
    assert_eq!(stored.schema().fields().len(), 5);
}

#[tokio::test]
async fn a_measure_that_is_not_there_or_not_of_one_dataset_is_refused() {
    let engine = filled().await;
    for (sql, says) in [
        (
            "SELECT measure(mean_token) FROM calls",
            "SQL: dataset calls has no measure \"mean_token\"; did you mean mean_tokens?",
        ),
        (
            "SELECT measure(zzz) FROM calls",
            "it has mean_tokens, large, large_share, per_large, last_at",
        ),
        ("SELECT measure(size) FROM calls", "it is a dimension, which is used as a column is"),
        ("SELECT measure(large)", "there is no FROM"),
        (
            "SELECT measure(large) FROM calls a JOIN calls b ON a.id = b.id",
            "found a JOIN, which may give rows several times",
        ),
        ("SELECT measure(large) FROM calls a, calls b", "found 2 relations"),
        ("SELECT measure(large) FROM (SELECT * FROM calls)", "found a query behind FROM"),
        ("WITH c AS (SELECT * FROM calls) SELECT measure(large) FROM c", "c is a query of WITH"),
        ("SELECT measure(large) FROM nothing", "nothing is no dataset"),
        ("SELECT measure(large) OVER () FROM calls", "a measure over a window is not taken"),
        ("SELECT measure(DISTINCT large) FROM calls", "expected the name of a measure"),
        ("SELECT measure(1 + 1) FROM calls", "expected the name of a measure"),
        ("SELECT measure(b.large) FROM calls a", "b is not what a is called behind FROM"),
    ] {
        let error = asks(&engine, &who(), sql).await.unwrap_err();
        assert_eq!(error.code(), Code::BadInput, "{sql}: {error}");
        assert!(error.to_string().contains(says), "{sql}: {error}");
    }
    let many = vec!["measure(large_share)"; 5_000].join(", ");
    let error = asks(&engine, &who(), &format!("SELECT {many} FROM calls")).await.unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded, "{error}");
}

fn problem(spec: &DatasetSpec) -> String {
    let unfit = Semantics::of(spec).unfit().values().map(ToString::to_string).collect::<Vec<_>>();
    unfit.join("; ")
}

#[test]
fn what_can_not_be_computed_is_told_where_it_is_declared() {
    for (expression, says) in [
        ("sum(tokans)", "measure \"m\": \"tokans\" is no column; did you mean tokens?"),
        ("sum(zzz)", "\"zzz\" is no column; calls has at, at_month, id, model, tokens"),
        ("tokens + count(*)", "\"tokens\" stands outside of an aggregate, as sum(tokens)"),
        ("1 + 1", "expected an aggregate of columns"),
        ("sum(avg(tokens))", "an aggregate stands within an aggregate"),
        ("sum(m)", "it is made of itself: m is made of m"),
        ("sum(tokens", "Expected: )"),
        ("sum(tokens) AS x", "found AS x"),
        ("sum(tokens) nonsense 1", "measure \"m\""),
        ("(SELECT 1)", "queries are not taken here"),
        ("sum(model)", "measure \"m\""),
        ("sum(tokens) OVER ()", "sum() over a window is not taken here"),
        ("max(at) < now()", "now() gives another value each time"),
        ("sum(tokens * random())", "random() gives another value each time"),
        ("count(*) > $limit", "$limit has no value here"),
        ("array_agg(tokens)", "it gives values of type List"),
        ("nosuch(tokens)", "measure \"m\""),
        ("calls.tokens", "\"calls\" is no column"),
    ] {
        let told = problem(&spec(&[], &[("m", expression)]));
        assert!(told.contains(says), "{expression}: {told}");
        assert!(told.starts_with("spec of calls: "), "{told}");
    }
    for (expression, says) in [
        ("sum(tokens)", "dimension \"d\": aggregates are not taken here"),
        ("d", "it is made of itself"),
        ("[tokens]", "it gives values of type List"),
        ("tokens + 'a'", "dimension \"d\""),
        ("of_rows", "\"of_rows\" is a measure, and a dimension is made of one row"),
    ] {
        let told = problem(&spec(&[("d", expression)], &[("of_rows", "count(*)")]));
        assert!(told.contains(says), "{expression}: {told}");
    }
    let circle = problem(&spec(&[], &[("a", "b + 1"), ("b", "c + 1"), ("c", "a + 1")]));
    assert!(circle.contains("a is made of b is made of c is made of a"), "{circle}");
    let word = crate::session::check_semantics(&spec(&[], &[("select", "count(*)")])).unwrap_err();
    assert!(word.to_string().contains("measure \"select\": it is a word of SQL"), "{word}");
}

/// On a thread whose stack is that of any other.
#[test]
fn what_is_declared_is_bounded() {
    let names: Vec<String> = (0..12).map(|at| format!("m{at}")).collect();
    // Each twice the one before.
    let doubled: Vec<(&str, String)> = (names.iter().enumerate())
        .map(|(at, name)| match at {
            0 => (name.as_str(), "count(*)".to_owned()),
            at => (name.as_str(), format!("{0} + {0}", names[at - 1])),
        })
        .collect();
    let doubled: Vec<(&str, &str)> =
        doubled.iter().map(|(name, of)| (*name, of.as_str())).collect();
    let semantics = Semantics::of(&spec(&[], &doubled));
    let told = semantics.unfit()["m11"].to_string();
    assert!(told.contains("names within names at most 8 deep"), "{told}");
    assert!(semantics.measures().len() >= 6 && semantics.measures().len() < 9);
    let many = vec!["m0"; 200].join(" + ");
    let told = problem(&spec(&[], &[("m0", "sum(tokens) + sum(id) + sum(id) * 2"), ("m", &many)]));
    assert!(told.contains("parts, with those of what it names"), "{told}");
    let longest = vec!["count(*)"; 90].join(" + ");
    assert_eq!(problem(&spec(&[], &[("m", &longest)])), "");
    let long = vec!["1"; 300].join(" + ");
    assert!(
        problem(&spec(&[], &[("m", &long)])).contains("at most 500 words and signs, found 599")
    );
}

#[test]
fn types_are_those_of_the_planner() {
    let semantics = Semantics::of(&spec(&DIMENSIONS, &MEASURES));
    assert!(semantics.unfit().is_empty(), "{:?}", semantics.unfit());
    let kinds = |of: &Measure| of.kind.to_string();
    let measures: Vec<String> = semantics.measures().iter().map(kinds).collect();
    assert_eq!(measures, ["float64", "int64", "float64", "float64", "timestamp"]);
    let dimensions: Vec<String> =
        semantics.dimensions().iter().map(|of| of.kind.to_string()).collect();
    assert_eq!(dimensions, ["text", "timestamp", "text"]);
}

async fn reshape(engine: &Engine, change: Reshape) -> Result<Version> {
    let made = engine.reshape(&who(), &name("calls"), change, label("a test")).await;
    made.map(|made| made.version)
}

#[tokio::test]
async fn a_spec_with_something_wrong_makes_no_dataset() {
    let engine = Engine::open(options("memory:")).await.unwrap();
    let wrong = spec(&[("d", "tokans")], &[("m", "sum(tokens) + id")]);
    let error = engine.create_dataset(&who(), wrong).await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    for part in ["dimension \"d\": \"tokans\" is no column", "measure \"m\": \"id\" stands outside"]
    {
        assert!(error.to_string().contains(part), "{error}");
    }
    engine.create_dataset(&who(), calls()).await.unwrap();
    // A spec that has some gives them to a dataset that is there, one that has none takes none away.
    engine.ensure_dataset(&who(), &spec(&DIMENSIONS, &MEASURES)).await.unwrap();
    let entry = engine.ensure_dataset(&who(), &calls()).await.unwrap();
    assert_eq!((entry.spec.dimensions.len(), entry.spec.measures.len()), (3, 5));
    let error = engine.ensure_dataset(&who(), &spec(&[], &[("m", "sum(x)")])).await.unwrap_err();
    assert!(error.to_string().contains("\"x\" is no column"), "{error}");
}

#[tokio::test]
async fn columns_that_something_is_made_of_stay_and_may_be_called_otherwise() {
    let engine = filled().await;
    let drop = Reshape::Drop { column: "tokens".to_owned() };
    let error = reshape(&engine, drop.clone()).await.unwrap_err().to_string();
    assert!(error.contains("the dimension \"size\" is made of it; change or drop that"), "{error}");
    let text =
        Reshape::Retype { column: "tokens".into(), to: "text".parse().unwrap(), using: None };
    let error = reshape(&engine, text).await.unwrap_err().to_string();
    assert!(error.contains("measure \"mean_tokens\""), "{error}");
    let to = "large".to_owned();
    let taken = Reshape::Rename { column: "tokens".into(), to };
    let error = reshape(&engine, taken).await.unwrap_err().to_string();
    assert!(error.contains("measure \"large\": there is a column of this name"), "{error}");
    let before =
        query(&engine, "SELECT size, measure(mean_tokens) FROM calls GROUP BY 1 ORDER BY 1").await;
    let rename = Reshape::Rename { column: "tokens".into(), to: "order".into() };
    reshape(&engine, rename).await.unwrap();
    let entry = engine.catalog(&who()).await.unwrap().datasets[&name("calls")].clone();
    let expressions = |spec: &DatasetSpec| spec.measures[0].expression.clone();
    assert_eq!(expressions(&entry.spec), "sum(\"order\") / count(*)");
    assert_eq!(
        entry.spec.dimensions[0].expression,
        "case when \"order\" >= 50 then 'large' else 'small' end"
    );
    let after =
        query(&engine, "SELECT size, measure(mean_tokens) FROM calls GROUP BY 1 ORDER BY 1").await;
    assert_eq!(before, after);
    // What nothing is made of goes.
    reshape(&engine, Reshape::Measure(measure("mean_tokens", "avg(\"order\")"))).await.unwrap();
    let gone = |name: &str| Reshape::Undeclare { name: name.to_owned() };
    let error = reshape(&engine, gone("size")).await.unwrap_err().to_string();
    assert!(error.contains("\"size\" is no column"), "{error}");
    let error = reshape(&engine, gone("sizes")).await.unwrap_err().to_string();
    assert_eq!(error, "there is no measure and no dimension \"sizes\"; did you mean size?");
    reshape(&engine, gone("last_at")).await.unwrap();
    reshape(&engine, Reshape::Dimension(dimension("size", "model"))).await.unwrap();
    let error = reshape(&engine, Reshape::Measure(measure("m", "sum(x)"))).await.unwrap_err();
    assert!(error.to_string().contains("\"x\" is no column"), "{error}");
}

#[tokio::test]
async fn an_older_version_is_measured_by_what_is_declared_today() {
    let engine = engine().await;
    let rows = vec![rows(0..4)];
    engine.write(&who(), &name("calls"), WriteMode::Append, rows, label("t")).await.unwrap();
    reshape(&engine, Reshape::Measure(measure("mean", "avg(tokens)"))).await.unwrap();
    let session = engine.session(&who(), &[(name("calls"), AsOf::Version(Version(1)))]).await;
    let session = session.unwrap();
    let frame = session.sql("SELECT measure(mean) FROM calls").await.unwrap();
    let found = table(&session.collect(frame).await.unwrap());
    assert!(found.contains("| 15.0 |"), "{found}");
}

fn reader(set: &str) -> Principal {
    let set: GrantSet = serde_json::from_str(set).unwrap();
    Principal { grants: Grants::limited(set, Default::default()).unwrap(), ..who() }
}

#[tokio::test]
async fn who_sees_a_part_has_measures_of_that_part() {
    let engine = filled().await;
    let hidden = reader(r#"{"datasets": {"calls": {"masks": {"tokens": "hide"}}}}"#);
    let entry = engine.catalog(&hidden).await.unwrap().datasets[&name("calls")].clone();
    assert_eq!(entry.spec.dimensions.len(), 1);
    assert_eq!(entry.spec.measures, [measure("last_at", "max(at)")]);
    let error = asks(&engine, &hidden, "SELECT measure(mean_tokens) FROM calls").await.unwrap_err();
    assert!(error.to_string().contains("no measure \"mean_tokens\"; it has last_at"), "{error}");
    let error = asks(&engine, &hidden, "SELECT size FROM calls").await.unwrap_err();
    assert!(error.to_string().contains("size"), "{error}");
    let drawn = asks(&engine, &hidden, "SELECT * FROM calls LIMIT 1").await.unwrap();
    assert_eq!(
        cells(drawn.lines().nth(1).unwrap())[1..6],
        ["id", "at", "model", "at_month", "day"]
    );
    // Masked values are measured as they are shown, and rows that are kept back not at all.
    let ranges =
        reader(r#"{"datasets": {"calls": {"rows": "id < 6", "masks": {"tokens": "bucket 100"}}}}"#);
    let sql = "SELECT measure(mean_tokens) AS m, measure(large) AS n, count(DISTINCT size) AS s FROM calls";
    let found = asks(&engine, &ranges, sql).await.unwrap();
    assert!(found.contains("| 0.0 | 0 | 1 |"), "{found}");
    let probe = "SELECT count(*) FROM calls WHERE size = 'large'";
    assert!(asks(&engine, &ranges, probe).await.unwrap().contains("| 0        |"));
}
