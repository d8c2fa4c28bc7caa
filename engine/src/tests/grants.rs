//! Who sees a part of a tenant: of its datasets, their rows and columns, at each version, and of what changed.

use super::*;
use crate::{AsOf, Claim, Code, Grant, GrantSet, Grants, Reshape, Version, WriteMode};

/// One with these grants, for whom `team` is known.
fn reader(set: &str, team: Option<&str>) -> Principal {
    let set: GrantSet = serde_json::from_str(set).unwrap();
    let claims = team.map(|team| ("team".to_owned(), Claim::Text(team.to_owned())));
    let grants = Grants::limited(set, claims.into_iter().collect()).unwrap();
    Principal { grants, ..who() }
}

fn rows_of(condition: &str) -> String {
    let grant = Grant { rows: Some(condition.to_owned()), ..Grant::default() };
    let datasets = [("calls".to_owned(), grant)].into();
    serde_json::to_string(&GrantSet { salt: None, datasets }).unwrap()
}

async fn filled() -> Engine {
    let engine = engine().await;
    engine
        .write(&who(), &name("calls"), WriteMode::Append, vec![rows(0..9)], label("t"))
        .await
        .unwrap();
    engine
}

async fn asks(engine: &Engine, who: &Principal, sql: &str) -> Result<String> {
    let session = engine.session(who, &[]).await?;
    let frame = session.sql(sql).await?;
    Ok(table(&session.collect(frame).await?))
}

async fn count(engine: &Engine, who: &Principal, sql: &str) -> i64 {
    let session = engine.session(who, &[]).await.unwrap();
    let frame = session.sql(sql).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

#[tokio::test]
async fn a_dataset_that_is_not_granted_looks_as_if_it_were_not_there() {
    let engine = filled().await;
    let me = reader(r#"{"datasets": {"other": {}}}"#, None);
    assert!(engine.catalog(&me).await.unwrap().datasets.is_empty());
    let said = |error: crate::Error, dataset: &str| {
        assert_eq!(error.code(), Code::NotFound);
        error.to_string().replace(dataset, "…")
    };
    let missing = engine.session(&me, &[(name("nothing"), AsOf::Latest)]).await.unwrap_err();
    let hidden = engine.session(&me, &[(name("calls"), AsOf::Latest)]).await.unwrap_err();
    assert!(said(hidden, "calls").contains("0 datasets are in this tenant"));
    drop(missing);
    for pin in [AsOf::Version(Version(1)), AsOf::Version(Version(77))] {
        let error = engine.session(&me, &[(name("calls"), pin)]).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.to_string().contains("calls does not exist"), "{error}");
    }
    let error = engine.changes(&me, &name("calls"), Version(0), Version(1)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = asks(&engine, &me, "SELECT * FROM calls").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
}

#[tokio::test]
async fn a_condition_on_rows_holds_in_each_query_and_of_no_known_team_there_are_none() {
    let engine = filled().await;
    let set = rows_of("model = claim.team");
    let me = reader(&set, Some("m1"));
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls").await, 3);
    assert_eq!(count(&engine, &me, "SELECT max(id) FROM calls").await, 7);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls WHERE model = 'm0'").await, 0);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls WHERE id < 5").await, 2);
    let joined = "SELECT count(*) FROM calls a JOIN calls b ON a.model <> b.model";
    assert_eq!(count(&engine, &me, joined).await, 0);
    assert_eq!(count(&engine, &who(), "SELECT count(*) FROM calls").await, 9);
    for condition in [
        "model = claim.team",
        "NOT (model = claim.team)",
        "tokens < claim.team",
        "model IS NOT DISTINCT FROM claim.team",
        "coalesce(claim.team, 'm1') = model OR id >= 0",
        "claim.team",
    ] {
        let nobody = reader(&rows_of(condition), None);
        assert_eq!(count(&engine, &nobody, "SELECT count(*) FROM calls").await, 0, "{condition}");
    }
    // A claim may be called like a column, and one name of it in a text is none.
    let named = reader(&rows_of("\"claim\".TEAM = model AND model <> 'claim.team'"), Some("m1"));
    assert_eq!(count(&engine, &named, "SELECT count(*) FROM calls").await, 3);
    let claims = [("model".to_owned(), Claim::Texts(vec!["m1".to_owned(), "m2".to_owned()]))];
    let set = serde_json::from_str(&rows_of("array_has(claim.model, model)")).unwrap();
    let listed = Principal { grants: Grants::limited(set, claims.into()).unwrap(), ..who() };
    assert_eq!(count(&engine, &listed, "SELECT count(*) FROM calls").await, 6);
    let entry = engine.catalog(&me).await.unwrap().datasets[&name("calls")].clone();
    assert!(entry.is_part && entry.rows.is_none());
}

#[tokio::test]
async fn a_query_can_not_fail_at_a_row_that_is_kept_back() {
    let engine = filled().await;
    // Row 5 has 50 tokens and is of m2.
    let me = reader(&rows_of("model = 'm1'"), None);
    let probe = "SELECT count(*) FROM calls WHERE 1 / (tokens - 50) >= 0 OR id >= 0";
    assert_eq!(asks(&engine, &who(), probe).await.unwrap_err().code(), Code::BadInput);
    assert_eq!(count(&engine, &me, probe).await, 3);
    // The condition itself is the query's business as little.
    let plan = asks(&engine, &me, "EXPLAIN SELECT id FROM calls WHERE tokens > 5").await.unwrap();
    assert!(plan.contains("OptimizerBarrier"), "{plan}");
}

#[tokio::test]
async fn masks_are_on_before_anything_is_compared() {
    let engine = filled().await;
    let set = r#"{"salt": "0123456789abcdef", "datasets": {"calls": {"masks":
        {"model": "hash", "tokens": "bucket 50", "at": "bucket 7d"}}}}"#;
    let me = reader(set, None);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls WHERE model = 'm1'").await, 0);
    assert_eq!(count(&engine, &me, "SELECT count(DISTINCT model) FROM calls").await, 3);
    assert_eq!(count(&engine, &me, "SELECT max(tokens) FROM calls").await, 50);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls WHERE tokens > 50").await, 0);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls WHERE tokens = 50").await, 4);
    let instants = "SELECT count(DISTINCT at) FROM calls";
    assert_eq!(
        (count(&engine, &me, instants).await, count(&engine, &who(), instants).await),
        (2, 9)
    );
    // A month is a part of an instant that is kept back.
    let error = asks(&engine, &me, "SELECT at_month FROM calls").await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput, "{error}");
    let spec = engine.catalog(&me).await.unwrap().datasets[&name("calls")].spec.clone();
    assert!(spec.partition_by.is_empty() && spec.validations.is_empty());
}

#[tokio::test]
async fn a_hidden_column_is_none_and_a_condition_may_still_name_it() {
    let engine = filled().await;
    let set = r#"{"datasets": {"calls": {"rows": "tokens >= 60", "masks": {"tokens": "hide"}}}}"#;
    let me = reader(set, None);
    assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls").await, 3);
    let error = asks(&engine, &me, "SELECT tokens FROM calls").await.unwrap_err();
    assert!(error.to_string().contains("tokens"), "{error}");
    assert!(
        engine.catalog(&me).await.unwrap().datasets[&name("calls")].spec.column("tokens").is_none()
    );
}

#[tokio::test]
async fn grants_follow_a_column_to_what_it_was_called() {
    let engine = filled().await;
    let change = Reshape::Rename { column: "model".to_owned(), to: "made_by".to_owned() };
    engine.reshape(&who(), &name("calls"), change, label("t")).await.unwrap();
    // One that names a column which is there no more shows nothing, and nor does one that names another that came under its name.
    let hides = r#"{"datasets": {"calls": {"masks": {"model": "hide"}}}}"#.to_owned();
    let wrong = [rows_of("model = 'm1'"), hides];
    shows_nothing(&engine, &wrong).await;
    let column = "name = \"model\"\ntype = \"text\"\nnullable = true";
    let change = Reshape::Add(toml_column(column));
    engine.reshape(&who(), &name("calls"), change, label("t")).await.unwrap();
    shows_nothing(&engine, &wrong).await;
    let set =
        r#"{"datasets": {"calls": {"rows": "made_by = 'm1'", "masks": {"made_by": "hide"}}}}"#;
    let me = reader(set, None);
    let pins = [(name("calls"), AsOf::Version(Version(1)))];
    let session = engine.session(&me, &pins).await.unwrap();
    let frame = session.table(&name("calls")).await.unwrap();
    assert!(!frame.schema().has_column_with_unqualified_name("model"));
    let shown = session.collect(frame).await.unwrap();
    assert_eq!(shown.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    let today = session.table_of_today(&name("calls")).await.unwrap();
    assert!(!today.schema().has_column_with_unqualified_name("made_by"));
    session.collect(today).await.unwrap();
}

fn toml_column(text: &str) -> datasets::ColumnSpec {
    let columns = format!("name = \"t\"\n[[columns]]\n{text}");
    DatasetSpec::from_toml(&columns, "test").unwrap().columns.remove(0)
}

/// Who has these grants sees no dataset, and is told no more of why than that.
async fn shows_nothing(engine: &Engine, sets: &[String]) {
    for set in sets {
        let me = reader(set, Some("m1"));
        let catalog = engine.catalog(&me).await.unwrap();
        let reason = catalog.unreadable[&name("calls")].to_string();
        let error = asks(engine, &me, "SELECT * FROM calls").await.unwrap_err();
        assert_eq!(error.code(), Code::Forbidden, "{set}: {error}");
        assert_eq!(error.to_string(), reason);
        let says = "the grants of this principal do not fit calls as it is";
        assert!(reason.starts_with(says) && !reason.contains("m1"), "{reason}");
    }
}

#[tokio::test]
async fn a_name_that_a_column_had_in_between_is_not_forgotten() {
    let engine = filled().await;
    let reshape = async |change| {
        engine.reshape(&who(), &name("calls"), change, label("t")).await.unwrap();
    };
    let rename = |column: &str, to: &str| Reshape::Rename { column: column.into(), to: to.into() };
    let wrong = [
        rows_of("made_by = 'm1'"),
        r#"{"datasets": {"calls": {"masks": {"made_by": "hide"}}}}"#.to_owned(),
    ];
    reshape(rename("model", "made_by")).await;
    assert!(asks(&engine, &reader(&wrong[1], None), "SELECT * FROM calls").await.is_ok());
    reshape(rename("made_by", "maker")).await;
    shows_nothing(&engine, &wrong).await;
    let column = toml_column("name = \"made_by\"\ntype = \"text\"\nnullable = true");
    reshape(Reshape::Add(column)).await;
    shows_nothing(&engine, &wrong).await;
    let both = r#"{"datasets": {"calls": {"masks": {"made_by": "hide", "maker": "hide"}}}}"#;
    assert!(asks(&engine, &reader(both, None), "SELECT * FROM calls").await.is_ok());
}

#[tokio::test]
async fn a_condition_with_quotes_in_it_says_what_it_says() {
    let engine = filled().await;
    for (condition, rows) in [
        ("model <> '''' AND model = claim.team AND model <> ''''", 3),
        ("model <> 'O''Brien' AND model = claim.team", 3),
        ("model = claim.team AND \"model\" <> 'claim.team' -- claim.team", 3),
        ("model = claim . team", 3),
        ("model = 'claim.team'", 0),
        ("(model=claim.team)or(claim.team=model)", 3),
    ] {
        let me = reader(&rows_of(condition), Some("m1"));
        assert_eq!(count(&engine, &me, "SELECT count(*) FROM calls").await, rows, "{condition}");
    }
}

#[tokio::test]
async fn a_condition_that_fails_at_a_row_does_not_say_what_stands_there() {
    let engine = filled().await;
    for condition in ["CAST(model AS INT) < 5", "model < 5", "1 / (tokens - 50) < 0"] {
        let me = reader(&rows_of(condition), None);
        for query in ["SELECT count(*) FROM calls", "SELECT id FROM calls WHERE id = 5"] {
            let error = asks(&engine, &me, query).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.code(), Code::Forbidden, "{condition}: {text}");
            assert!(!text.contains("m2") && text.contains("do not fit calls"), "{text}");
        }
    }
}

#[tokio::test]
async fn changes_are_those_of_the_rows_that_are_seen() {
    let engine = filled().await;
    let me = reader(&rows_of("model = claim.team"), Some("m1"));
    let dataset = name("calls");
    engine.write(&who(), &dataset, WriteMode::Append, vec![rows(9..12)], label("t")).await.unwrap();
    engine
        .write(&who(), &dataset, WriteMode::Overwrite, vec![rows(5..12)], label("t"))
        .await
        .unwrap();
    let session = engine.session(&me, &[]).await.unwrap();
    for (from, to, counts) in [(0, 1, (3, 0)), (1, 2, (1, 0)), (2, 3, (0, 2)), (1, 3, (1, 2))] {
        let changes = engine.changes(&me, &dataset, Version(from), Version(to)).await.unwrap();
        assert!(changes.run_ids.is_empty());
        let mut found = Vec::new();
        for frame in [changes.added, changes.removed] {
            let batches = session.collect(frame).await.unwrap();
            found.push(batches.iter().map(|batch| batch.num_rows()).sum::<usize>());
        }
        assert_eq!((found[0], found[1]), counts, "{from} to {to}");
    }
}

#[tokio::test]
async fn what_obeys_no_grants_is_refused_to_who_has_not_all() {
    let engine = filled().await;
    let (me, dataset) = (reader(&rows_of("true"), None), name("calls"));
    let forbidden = |error: crate::Error| assert_eq!(error.code(), Code::Forbidden, "{error}");
    forbidden(engine.history(&me, &dataset, 1).await.unwrap_err());
    forbidden(engine.drop_dataset(&me, &dataset).await.unwrap_err());
    forbidden(engine.create_dataset(&me, calls()).await.unwrap_err());
    let rows = || IngestRows::Batches(vec![rows(0..1)]);
    let request = || IngestRequest { rows: rows(), producer: None };
    forbidden(engine.ingest(&me, &dataset, request()).await.unwrap_err());
    let mine = reader(r#"{"datasets": {"calls": {}}}"#, None);
    assert_eq!(engine.ingest(&mine, &dataset, request()).await.unwrap().accepted, 1);
    assert!(engine.history(&mine, &dataset, 1).await.is_ok());
    forbidden(engine.drop_dataset(&mine, &dataset).await.unwrap_err());
}

#[tokio::test]
async fn grants_that_do_not_fit_show_nothing() {
    let engine = filled().await;
    for masks in [
        r#"{"tokens": "hash"}"#,
        r#"{"model": "bucket 10"}"#,
        r#"{"id": "bucket 10"}"#,
        r#"{"at": "hide"}"#,
        r#"{"gone": "hide"}"#,
    ] {
        let set = format!(
            r#"{{"salt": "0123456789abcdef", "datasets": {{"calls": {{"masks": {masks}}}}}}}"#
        );
        shows_nothing(&engine, &[set]).await;
    }
    for rows in ["gone = 1", "tokens", "tokens =", "SELECT 1"] {
        shows_nothing(&engine, &[rows_of(rows)]).await;
    }
}

#[tokio::test]
async fn decimals_are_shown_by_the_range_that_they_are_in() {
    let engine = engine().await;
    let spec = r#"{"name": "orders", "columns": [{"name": "amount", "type": "decimal(5,2)", "nullable": true}]}"#;
    engine.create_dataset(&who(), DatasetSpec::from_json(spec).unwrap()).await.unwrap();
    let amounts = ["0.00", "99.99", "100.00", "-0.01", "-999.99"];
    let lines = amounts.map(|amount| format!("{{\"amount\": \"{amount}\"}}")).join("\n");
    let rows = ndjson(&format!("{lines}\n{{\"amount\": null}}"));
    engine.ingest(&who(), &name("orders"), IngestRequest { rows, producer: None }).await.unwrap();
    let me = reader(r#"{"datasets": {"orders": {"masks": {"amount": "bucket 100"}}}}"#, None);
    let shown = asks(
        &engine,
        &me,
        "SELECT amount, count(*) AS n FROM orders GROUP BY amount ORDER BY amount",
    );
    let shown = shown.await.unwrap();
    let rows: Vec<String> = (shown.lines().filter(|line| line.contains('.')))
        .map(|line| line.replace(['|', ' '], ""))
        .collect();
    // Of a number below the first whole range, the least that there is.
    assert_eq!(rows, ["-999.991", "-100.001", "0.002", "100.001"], "{shown}");
}
