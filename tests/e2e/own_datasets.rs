//! Datasets that users declare: from a file's columns, from a spec, and as both change.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Server, binary, colonnade, make, without_settings};

const SPEC: &str = r#"
name = "orders"
description = "Orders of the shop"
key = ["id"]
time_column = "placed_at"
evolution = "add_nullable"

[[columns]]
name = "id"
type = "int64"

[[columns]]
name = "placed_at"
type = "timestamp"

[[columns]]
name = "total"
type = "decimal(12,2)"
unit = "eur"
nullable = true

[[validations]]
check = "range"
column = "total"
min = 0.0
"#;

#[tokio::test]
async fn a_file_becomes_a_dataset_and_answers_in_graphql() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("data"), folder.path().join("cities.csv"));
    std::fs::write(
        &file,
        "city;founded;area_km2\n\"Köln\";38;405,0\nRoma;-753;1285.3\nOslo;1040;454\n"
            .replace(",0", ".0"),
    )
    .unwrap();
    let made =
        colonnade(&root, &["ingest", "cities", file.to_str().unwrap(), "--create", "--json"])
            .await
            .json();
    assert_eq!((&made["accepted"], &made["quarantined"]), (&json!(3), &json!(0)), "{made}");
    let server = Server::start(&root).await;
    let data = server
        .data(
            "{ cities(where: {founded: {gt: 0}}, orderBy: [{areaKm2: DESC}]) {
                totalCount nodes { city founded areaKm2 } } }",
        )
        .await;
    let nodes = &data["cities"]["nodes"];
    assert_eq!((&nodes[0]["city"], &nodes[1]["city"]), (&json!("Oslo"), &json!("Köln")), "{data}");
    assert_eq!(nodes[1]["areaKm2"], 405.0);
}

#[tokio::test]
async fn a_spec_is_kept_and_its_validations_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (root, spec) = (folder.path().join("data"), folder.path().join("orders.toml"));
    let file = folder.path().join("orders.ndjson");
    std::fs::write(&spec, SPEC).unwrap();
    let rows = "{\"id\": 1, \"placed_at\": \"2026-03-01T10:00:00Z\", \"total\": \"12.50\"}\n\
                {\"id\": 2, \"placed_at\": \"2026-03-01T11:00:00+01:00\", \"total\": -1}\n\
                {\"id\": 3, \"placed_at\": \"2026-03-02T00:00:00Z\"}\n";
    std::fs::write(&file, rows).unwrap();
    let (file, spec) = (file.to_str().unwrap(), spec.to_str().unwrap());
    let made = colonnade(&root, &["ingest", "orders", file, "--spec", spec, "--json"]).await.json();
    assert_eq!((&made["accepted"], &made["quarantined"]), (&json!(2), &json!(1)), "{made}");
    let kept = ["sql", "SELECT * FROM orders_quarantine", "--format", "json"];
    let kept = colonnade(&root, &kept).await.json();
    for part in ["orders.ndjson", "total", "-1", "2"] {
        assert!(kept[0].to_string().contains(part), "expected {part} in {kept}");
    }
    let sum = ["sql", "SELECT sum(total) AS s, min(placed_at) AS a FROM orders", "--format", "csv"];
    let sum = colonnade(&root, &sum).await;
    assert!(
        sum.stdout.lines().nth(1).is_some_and(|line| line.starts_with("12.50,2026-03-01T10:00:00")),
        "{}",
        sum.stdout
    );
}

#[tokio::test]
async fn new_nullable_columns_are_taken_and_old_versions_stay_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (root, spec) = (folder.path().join("data"), folder.path().join("orders.toml"));
    let file = folder.path().join("orders.ndjson");
    std::fs::write(&spec, SPEC).unwrap();
    let load = async |row: &str| {
        std::fs::write(&file, row).unwrap();
        colonnade(
            &root,
            &[
                "ingest",
                "orders",
                file.to_str().unwrap(),
                "--spec",
                spec.to_str().unwrap(),
                "--json",
            ],
        )
        .await
    };
    let first =
        load("{\"id\": 1, \"placed_at\": \"2026-03-01T10:00:00Z\"}\n").await.json()["version"]
            .clone();
    let second =
        load("{\"id\": 2, \"placed_at\": \"2026-03-01T10:00:00Z\", \"coupon\": \"spring\"}\n")
            .await
            .json();
    assert_eq!(second["accepted"], 1, "{second}");
    let query = "SELECT id, coupon FROM orders ORDER BY id";
    let now = colonnade(&root, &["sql", query, "--format", "json"]).await.json();
    assert_eq!(now, json!([{"id": 1, "coupon": null}, {"id": 2, "coupon": "spring"}]));
    let pin = format!("orders@{first}");
    let then =
        colonnade(&root, &["sql", "SELECT * FROM orders", "--as-of", &pin, "--format", "csv"])
            .await;
    assert_eq!(then.stdout.lines().count(), 2, "{}", then.stdout);
    assert!(!then.stdout.contains("coupon"), "{}", then.stdout);
    let server = Server::start(&root).await;
    let query = format!(
        "{{ then: orders(asOf: {{version: {first}}}) {{ totalCount }}
            now: orders {{ totalCount nodes {{ coupon }} }} }}"
    );
    let data = server.data(&query).await;
    let count = |name: &str| data[name]["totalCount"].to_string().trim_matches('"').to_owned();
    assert_eq!((count("then"), count("now")), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn a_file_of_which_nothing_fits_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, half) = (file("good.csv", "n\n1\n2\n3\n4\n"), file("half.csv", "n\n5\nx\ny,z\n6\n"));
    let bad = file("bad.csv", "n\nseven\neight\n");
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    ask(&["ingest", "numbers", &good, "--create", "--json"]).await.json();

    let some = ask(&["ingest", "numbers", &half]).await;
    assert!(some.status.success(), "{}", some.stderr);
    let says = "2 rows are in numbers_quarantine with their reasons:";
    assert!(some.stderr.contains(says), "{}", some.stderr);
    let first = "half.csv:3 (row 2): \"n\": expected int64, found \"x\"";
    assert!(some.stderr.contains(first), "{}", some.stderr);

    let none = ask(&["ingest", "numbers", &bad, "--json"]).await;
    let says = none.fails_with("BAD_INPUT");
    assert!(says.contains("none of 2 rows fits; they are in numbers_quarantine"), "{says}");
    let document = none.document();
    assert_eq!((&document["accepted"], &document["quarantined"]), (&json!(0), &json!(2)));
    assert_eq!(document["files"][0]["causes"][0]["rows"], 2, "{document}");

    // Twice by oversight it is not loaded.
    let twice = ask(&["ingest", "numbers", &half]).await;
    let says = twice.fails_with("CONFLICT");
    assert!(says.contains("half.csv: it was loaded before, and its rows are in numbers"), "{says}");

    // Whole or not at all, and then nothing is in the quarantine either.
    for (most, fits) in [("50%", true), ("2", true), ("49.9%", false), ("1", false), ("0", false)] {
        let before = ask(&["datasets", "--json"]).await.json();
        let again = ["--on-conflict", "add", "--max-quarantined", most];
        let outcome = ask(&[&["ingest", "numbers", &half][..], &again].concat()).await;
        if fits {
            assert!(outcome.status.success(), "{most}: {}", outcome.stderr);
            continue;
        }
        let says = outcome.fails_with("BAD_INPUT");
        let bound = if most == "49.9%" { "49.9 %" } else { most };
        let expected = format!(
            "half.csv: 2 of 4 rows do not fit, and at most {bound} may; nothing was loaded; 1 rows: "
        );
        assert!(says.starts_with(&expected), "{says}");
        assert_eq!(ask(&["datasets", "--json"]).await.json(), before, "{most}");
    }
    for most in ["-1", "101%", "many", "%", "1.5"] {
        let flag = format!("--max-quarantined={most}");
        let outcome = ask(&["ingest", "numbers", &half, &flag]).await;
        assert_eq!(outcome.status.code(), Some(2), "{most}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn a_file_that_is_loaded_twice_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let spec = file(
        "stock.toml",
        "name = \"stock\"\nkey = [\"shop\", \"item\"]\ncolumns = [{name = \"shop\", type = \"text\"}, \
         {name = \"item\", type = \"int64\"}, {name = \"pieces\", type = \"int64\"}]\n",
    );
    let monday = file("monday.csv", "shop,item,pieces\nKöln,1,10\nKöln,2,20\nRoma,1,30\n");
    let tuesday =
        file("tuesday.csv", "shop,item,pieces\nKöln,2,19\nRoma,2,5\nRoma,2,4\nOslo,x,1\n");
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    let pieces = async || {
        let query = "SELECT shop, item, pieces FROM stock ORDER BY shop, item";
        let rows = ask(&["sql", query, "--format", "json"]).await.json();
        let row = |row: &Value| {
            format!("{}/{}: {}", row["shop"].as_str().unwrap(), row["item"], row["pieces"])
        };
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    ask(&["ingest", "stock", &monday, "--spec", &spec, "--json"]).await.json();
    let twice = ask(&["ingest", "stock", &monday]).await;
    let says = twice.fails_with("CONFLICT");
    let expected = "monday.csv: 3 keys are in stock already, such as ";
    assert!(
        says.starts_with(expected) && says.contains("load with on_conflict replace, skip or add"),
        "{says}"
    );
    assert_eq!(pieces().await, ["Köln/1: 10", "Köln/2: 20", "Roma/1: 30"]);

    let inside = ask(&["ingest", "stock", &tuesday, "--on-conflict", "error"]).await;
    let says = inside.fails_with("CONFLICT");
    assert!(says.contains("1 key stands in the file more than once, such as Roma, 2;"), "{says}");
    let skipped =
        ask(&["ingest", "stock", &tuesday, "--on-conflict", "skip", "--json"]).await.json();
    let of = &skipped["files"][0];
    assert_eq!(
        (&of["accepted"], &of["skipped"], &of["replaced"], &of["quarantined"]),
        (&json!(1), &json!(2), &json!(0), &json!(1))
    );
    assert_eq!(pieces().await, ["Köln/1: 10", "Köln/2: 20", "Roma/1: 30", "Roma/2: 5"]);
    let replaced = ask(&["ingest", "stock", &tuesday, "--on-conflict", "replace"]).await;
    let expected = "file         accepted  quarantined  replaced  skipped  version\n\
                    tuesday.csv         2            1         2        1        3\n";
    assert_eq!(replaced.stdout, expected, "{}", replaced.stderr);
    assert_eq!(pieces().await, ["Köln/1: 10", "Köln/2: 19", "Roma/1: 30", "Roma/2: 4"]);
    ask(&["ingest", "stock", &monday, "--on-conflict", "add", "--json"]).await.json();
    assert_eq!(pieces().await.len(), 7);

    let wednesday = file("wednesday.csv", "shop,item,pieces\nBonn,1,1\nBonn,1,2\n");
    let told = ask(&["ingest", "stock", &wednesday]).await;
    let says = "wednesday.csv: 1 key has more than one row; all were loaded (--on-conflict replace or skip take one)";
    assert!(told.status.success() && told.stderr.contains(says), "{}", told.stderr);
    assert_eq!(pieces().await.len(), 9);

    let keyless = ["ingest", "notes", &monday, "--create", "--on-conflict", "replace"];
    let says = ask(&keyless).await;
    assert!(says.fails_with("BAD_INPUT").contains("its spec names no `key`"), "{}", says.stderr);
    assert_eq!(
        ask(&["ingest", "stock", &monday, "--on-conflict", "guess"]).await.status.code(),
        Some(2)
    );
}

#[tokio::test]
async fn small_files_are_put_together_and_rows_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    for city in ["Köln", "Roma", "Oslo"] {
        let file = folder.path().join(format!("{city}.csv"));
        std::fs::write(&file, format!("city\n{city}\n")).unwrap();
        ask(&["ingest", "cities", file.to_str().unwrap(), "--create", "--json"]).await.json();
    }
    let files = || {
        let entries = std::fs::read_dir(root.join("default/cities")).unwrap();
        entries.filter(|e| e.as_ref().unwrap().path().extension().is_some()).count()
    };
    assert_eq!(files(), 3);
    let expected = json!([{"dataset": "cities", "files_removed": 3, "files_added": 1, "rows": 3, "version": 4}]);
    assert_eq!(ask(&["compact", "--json"]).await.json(), expected);
    let query = ["sql", "SELECT city FROM cities ORDER BY city", "--format", "json"];
    let cities = json!([{"city": "Köln"}, {"city": "Oslo"}, {"city": "Roma"}]);
    assert_eq!(ask(&query).await.json(), cities);
    // Who asks for an older version needs the old files.
    assert_eq!(files(), 4);
    assert_eq!(ask(&[&query[..], &["--as-of", "cities@3"]].concat()).await.json(), cities);
    let again = ask(&["compact", "cities"]).await;
    assert_eq!(
        again.stdout,
        "dataset  files  became  rows  version\ncities       0       0     0        4\n"
    );
    let unknown = ask(&["compact", "citis"]).await;
    assert!(unknown.fails_with("NOT_FOUND").contains("did you mean cities?"), "{}", unknown.stderr);
    assert!(ask(&["doctor"]).await.status.success());
}

#[tokio::test]
async fn rows_are_deleted_and_changed_and_older_versions_keep_them() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("data"), folder.path().join("cities.csv"));
    std::fs::write(&file, "city,founded,area\nKöln,38,405\nRoma,-753,1285\nOslo,1040,\n").unwrap();
    let ask = async |arguments: &[&str]| colonnade(&root, arguments).await;
    ask(&["ingest", "cities", file.to_str().unwrap(), "--create", "--json"]).await.json();
    let cities = async |at: &[&str]| {
        let query = ["sql", "SELECT city, area FROM cities ORDER BY city", "--format", "json"];
        ask(&[&query[..], at].concat()).await.document()
    };

    let where_ = "area < 1000 or founded > 1000";
    let few = ask(&["delete", "cities", "--where", where_, "--dry-run"]).await;
    assert_eq!(few.stdout, "2 rows of cities would be deleted; none was\n");
    let set =
        ["update", "cities", "--set", "area = area * 10", "--where", "founded < now()", "--json"];
    let refused = ask(&set).await;
    assert!(refused.fails_with("BAD_INPUT").contains("founded < now()"), "{}", refused.stderr);
    let changed =
        ask(&["update", "cities", "--set", "area = area * 10", "--where", "city = 'Roma'"]).await;
    let says = "changed 1 row of cities: version 2; as it was before: cities@1\n";
    assert_eq!(changed.stdout, says, "{}", changed.stderr);
    let gone = ask(&["delete", "cities", "--where", where_, "--json"]).await.json();
    assert_eq!(gone, json!({"dataset": "cities", "rows": 2, "version": 3}));
    assert_eq!(cities(&[]).await, json!([{"city": "Roma", "area": 12_850}]));
    let before = cities(&["--as-of", "cities@1"]).await;
    assert_eq!((before.as_array().unwrap().len(), &before[2]["area"]), (3, &json!(1_285)));
    assert_eq!(
        ask(&["delete", "cities", "--where", where_]).await.stdout,
        "no row of cities is meant; nothing was deleted\n"
    );

    for (arguments, says) in [
        (&["delete", "cities"][..], "expected --where CONDITION, or --all for every row"),
        (&["delete", "cities", "--where", "population > 3"], "population"),
        (
            &["delete", "cities", "--where", "area"],
            "expected one that is true or false, found a value of type int64",
        ),
        (&["delete", "cities", "--where", "area > (SELECT 1)"], "queries are not taken here"),
        (&["delete", "cities", "--where", "random() < 0.5"], "something else each time"),
        (&["delete", "cities", "--where", "area > 1; DROP TABLE cities"], "expression"),
        (&["update", "cities", "--set", "area", "--all"], "expected COLUMN = VALUE"),
        (&["update", "cities", "--set", "height = 3", "--all"], "there is no column \"height\""),
    ] {
        let outcome = ask(arguments).await;
        let message = outcome.fails_with("BAD_INPUT");
        assert!(message.contains(says), "expected {says} in {message}");
    }
    ask(&["run", "anomalies", "--param", "dataset=cities"]).await;
    let runs = ask(&["delete", "runs", "--all"]).await;
    assert!(runs.fails_with("FORBIDDEN").contains("runs"), "{}", runs.stderr);
}

#[tokio::test]
async fn a_spec_with_another_type_is_refused_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let (root, spec) = (folder.path().join("data"), folder.path().join("orders.toml"));
    let file = folder.path().join("orders.ndjson");
    std::fs::write(&file, "{\"id\": 1, \"placed_at\": \"2026-03-01T10:00:00Z\"}\n").unwrap();
    let arguments = ["ingest", "orders", file.to_str().unwrap(), "--spec", spec.to_str().unwrap()];
    std::fs::write(&spec, SPEC).unwrap();
    assert!(colonnade(&root, &arguments).await.status.success());
    std::fs::write(
        &spec,
        SPEC.replace("name = \"id\"\ntype = \"int64\"", "name = \"id\"\ntype = \"text\""),
    )
    .unwrap();
    let outcome = colonnade(&root, &arguments).await;
    let message = outcome.fails_with("CONFLICT");
    for part in ["id", "int64", "text"] {
        assert!(message.contains(part), "expected {part} in {message}");
    }
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("data"), folder.path().join("a.csv"));
    std::fs::write(&file, "a\n1\n").unwrap();
    let arguments =
        ["ingest", "secret_plans", file.to_str().unwrap(), "--create", "--tenant", "north"];
    assert!(colonnade(&root, &arguments).await.status.success());
    let query = ["sql", "SELECT * FROM secret_plans", "--tenant"];
    let of = async |tenant: &str| colonnade(&root, &[&query[..], &[tenant]].concat()).await;
    assert!(of("north").await.status.success());
    let outcome = of("south").await;
    assert!(!outcome.fails_with("NOT_FOUND").contains("north"), "{}", outcome.stderr);
    let listed = colonnade(&root, &["datasets", "--json", "--tenant", "south"]).await.json();
    assert!(!listed.to_string().contains("secret_plans"), "{listed}");
}

#[tokio::test]
async fn columns_of_a_file_keep_their_types_and_values() {
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int32Array, ListArray, RecordBatch,
        StringArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    let decimal = Decimal128Array::from(vec![Some(125), None, Some(-5)]);
    let lists = [Some(vec![Some(1), Some(2)]), None, Some(vec![])];
    let columns: [(&str, ArrayRef); 7] = [
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("small", Arc::new(Int32Array::from(vec![Some(7), Some(-7), None]))),
        ("price", Arc::new(decimal.with_precision_and_scale(4, 2).unwrap())),
        ("day", Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(20_000)]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1, -1]).with_timezone("+02:00"))),
        ("name", Arc::new(StringArray::from(vec![Some("ä"), Some(""), None]))),
        ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, path) = (folder.path().join("data"), folder.path().join("types.arrow"));
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();

    let arguments = ["ingest", "types", path.to_str().unwrap(), "--create", "--json"];
    let made = colonnade(&root, &arguments).await.json();
    assert_eq!((&made["accepted"], &made["quarantined"]), (&json!(3), &json!(0)), "{made}");
    let query = "SELECT flag, small, cast(price AS text) AS price, cast(day AS text) AS day, \
                 cast(cast(at AS bigint) AS text) AS at, name, tags FROM types ORDER BY at DESC";
    let found = colonnade(&root, &["sql", query, "--format", "json"]).await.json();
    let row = |flag, small, price, day, at, name, tags| {
        json!({"flag": flag, "small": small,
        "price": price, "day": day, "at": at, "name": name, "tags": tags})
    };
    let (null, text) = (json!(null), |text: &str| json!(text));
    let expected = json!([
        row(
            null.clone(),
            json!(-7),
            null.clone(),
            text("1969-12-31"),
            "1000",
            text(""),
            null.clone()
        ),
        row(json!(true), json!(7), text("1.25"), text("1970-01-01"), "0", text("ä"), json!([1, 2])),
        row(
            json!(false),
            null.clone(),
            text("-0.05"),
            text("2024-10-04"),
            "-1000",
            null,
            json!([])
        ),
    ]);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_comes_through_a_pipe_is_a_file_too() {
    for input in ["-", "/dev/stdin"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let pipe = "printf 'id,n\\na,1\\nb,2\\n' | \"$0\" --data \"$1\" ingest things \"$2\" --format csv --create --json";
        command.args(["-c", pipe]).arg(binary()).arg(folder.path().join("data")).arg(input);
        without_settings(&mut command);
        let output = command.output().await.unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(answer["accepted"], 2, "{input}: {answer}");
    }
}

#[tokio::test]
async fn lists_are_json_in_csv() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("data"), folder.path().join("things.ndjson"));
    std::fs::write(&file, "{\"id\": 1, \"tags\": [\"a\", \"b\"]}\n{\"id\": 2, \"tags\": []}\n")
        .unwrap();
    colonnade(&root, &["ingest", "things", file.to_str().unwrap(), "--create", "--json"])
        .await
        .json();
    let query = ["sql", "SELECT * FROM things ORDER BY id", "--format", "csv"];
    let answer = colonnade(&root, &query).await;
    assert_eq!(answer.stdout, "id,tags\n1,\"[\"\"a\"\",\"\"b\"\"]\"\n2,[]\n", "{}", answer.stderr);
}

/// Cut off, or with one in its middle gone.
#[tokio::test]
async fn a_dataset_whose_log_is_damaged_is_named_wherever_it_is_asked_for() {
    for harm in ["cut", "gone", "newest gone"] {
        let folder = tempfile::tempdir().unwrap();
        let (root, file) = (folder.path().join("data"), folder.path().join("things.ndjson"));
        for id in 0..3 {
            std::fs::write(&file, format!("{{\"id\": {id}}}\n")).unwrap();
            let arguments = ["ingest", "my_things", file.to_str().unwrap(), "--create", "--json"];
            colonnade(&root, &arguments).await.json();
        }
        let entry =
            |version: u64| root.join(format!("default/my_things/_delta_log/{version:020}.json"));
        match harm {
            "cut" => std::fs::write(entry(3), &std::fs::read(entry(3)).unwrap()[..200]).unwrap(),
            "gone" => std::fs::remove_file(entry(2)).unwrap(),
            _ => std::fs::remove_file(entry(3)).unwrap(),
        }
        let server = Server::start(&root).await;
        for field in ["myThings { totalCount }", "a: myThingsGroups { nodes { count } }"] {
            let answer = server.graphql(&format!("{{ {field} }}"), json!({})).await.body;
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["code"], "STORAGE_UNAVAILABLE", "{harm}: {answer}");
            assert!(error["message"].as_str().unwrap().contains("my_things"), "{harm}: {answer}");
            let says = answer.to_string();
            assert!(!says.contains("0: ") && !says.contains("::"), "a backtrace: {says}");
        }
        let ready = reqwest::get(server.url("/readyz")).await.unwrap().text().await.unwrap();
        assert!(ready.contains("some datasets can not be read: my_things"), "{ready}");
        let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("\ncolonnade_unreadable_datasets 1\n"), "{metrics}");
        let sent = server.ingest("my_things", "application/x-ndjson", "{\"id\": 9}").await;
        sent.refused_with(503, "STORAGE_UNAVAILABLE");
        assert_eq!(
            server.data("{ unreadableDatasets { name } }").await["unreadableDatasets"][0]["name"],
            "my_things"
        );
    }
}

#[tokio::test]
async fn damaged_records_of_runs_are_named_and_take_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    make(&root, "metrics").await;
    let ran = ["run", "anomalies", "--json"];
    // Without rows it fails, which is a record, too.
    colonnade(&root, &ran).await;
    let log = root.join("default/runs/_delta_log/00000000000000000001.json");
    std::fs::write(&log, &std::fs::read(&log).unwrap()[..100]).unwrap();
    // Control state has them, too; where that is lost, there is nobody else to ask.
    assert_eq!(
        colonnade(&root, &["runs", "--json"]).await.json().as_array().map(Vec::len),
        Some(1)
    );
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(root.join(format!(".colonnade.control.db{ending}")));
    }
    let server = Server::start(&root).await;
    for query in ["{ runs { id } }", "mutation { runJob(job: \"anomalies\") { id } }"] {
        server.graphql(query, json!({})).await.error_with("STORAGE_UNAVAILABLE");
    }
    assert!(server.data("{ metrics { totalCount } }").await["metrics"].is_object());
    drop(server);
    let refused = colonnade(&root, &["runs"]).await;
    assert!(refused.fails_with("STORAGE_UNAVAILABLE").contains("runs"));
}

#[tokio::test]
async fn a_vacuum_that_ends_time_travel_needs_a_confirmation() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path().join("data"), folder.path().join("things.ndjson"));
    for id in 0..3 {
        std::fs::write(&file, format!("{{\"id\": {id}}}\n")).unwrap();
        let arguments = ["ingest", "my_things", file.to_str().unwrap(), "--create", "--json"];
        colonnade(&root, &arguments).await.json();
    }
    colonnade(&root, &["compact", "my_things", "--json"]).await.json();
    let refused = colonnade(&root, &["vacuum", "my_things", "--keep-days", "0"]).await;
    let says = refused.fails_with("BAD_INPUT");
    assert!(says.contains("--yes") && says.contains("my_things: all versions before"), "{says}");
    // Nothing was deleted.
    let dry = ["vacuum", "my_things", "--keep-days", "0", "--dry-run", "--json"];
    let files = colonnade(&root, &dry).await.json()[0]["files"].as_u64().unwrap();
    assert!(files >= 3, "{files}");
    // A vacuum that keeps one day does not ask.
    colonnade(&root, &["vacuum", "my_things", "--keep-days", "1", "--json"]).await.json();
    let gone = ["vacuum", "my_things", "--keep-days", "0", "--yes", "--json"];
    assert_eq!(colonnade(&root, &gone).await.json()[0]["files"].as_u64(), Some(files));
    // Nothing is asked if there is nothing to lose.
    colonnade(&root, &["vacuum", "my_things", "--keep-days", "0", "--json"]).await.json();
}
