//! The settings by which files are loaded, and which of them a dataset stores.

use datasets::read::Source;
use datasets::{Evolution, LoadSettings};

use super::*;
use crate::{Code, LoadOptions, NewColumns, Numbering, OnConflict, Reshape};

const ORDERS: &str = r#"
    name = "orders"
    key = ["id"]
    columns = [
        {name = "id", type = "int64"},
        {name = "price", type = "float64", nullable = true},
        {name = "at", type = "timestamp", nullable = true},
        {name = "shop", type = "text", nullable = true},
    ]
"#;

fn orders() -> DatasetSpec {
    DatasetSpec::from_toml(ORDERS, "orders.toml").unwrap()
}

fn settings(given: &[(&str, &str)]) -> LoadSettings {
    let mut settings = LoadSettings::default();
    given.iter().for_each(|(name, value)| settings.set(name, value).unwrap());
    settings
}

fn stated(given: &[(&str, &str)]) -> LoadOptions {
    LoadOptions { settings: settings(given), ..stored() }
}

/// Options that use the dataset's policy.
fn stored() -> LoadOptions {
    LoadOptions { on_conflict: OnConflict::Stored, ..LoadOptions::default() }
}

async fn load(
    engine: &Engine,
    format: Format,
    text: &str,
    options: LoadOptions,
) -> Result<IngestReceipt> {
    let source = Source::Body { bytes: text.to_owned().into(), name: "orders.csv".to_owned() };
    engine.load(&who(), &name("orders"), source, format, options).await
}

async fn with(spec: DatasetSpec) -> Engine {
    let engine = Engine::open(options("memory:")).await.unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    engine
}

async fn stored_settings(engine: &Engine) -> String {
    let catalog = engine.catalog(&who()).await.unwrap();
    catalog.datasets[&name("orders")].spec.load.to_string()
}

#[tokio::test]
async fn a_stated_setting_is_stored_and_later_files_are_read_by_it() {
    let engine = with(orders()).await;
    let german = [("decimal_mark", "comma"), ("zone", "Europe/Berlin"), ("date_order", "dmy")];
    let first = "id;price;at\n1;1.234,50;01.07.2025 12:00\n";
    let receipt = load(&engine, Format::Csv, first, stated(&german)).await.unwrap();
    assert_eq!(receipt.stored_settings, "decimal_mark=,, date_order=dmy, zone=Europe/Berlin");
    let second = "id;price;at\n2;3.000;01.01.2025 12:00\n";
    let receipt = load(&engine, Format::Csv, second, stored()).await.unwrap();
    assert_eq!((receipt.accepted, receipt.stored_settings.as_str()), (1, ""));
    // The group commit uses them, too.
    let bytes = Bytes::from_static(b"id;price;at\n3;4.000;2025-01-01T00:00:00Z\n");
    let rows = IngestRows::Body { bytes, format: Format::Csv, name: "body".to_owned() };
    let request = IngestRequest { rows, producer: None };
    engine.ingest(&who(), &name("orders"), request).await.unwrap();
    let json = "{\"id\": 4, \"at\": \"2025-01-01 12:00:00\"}\n";
    load(&engine, Format::Ndjson, json, stored()).await.unwrap();
    let prices = "SELECT sum(price) FROM orders WHERE id IN (2, 3)";
    assert!(query(&engine, prices).await.contains("7000.0"));
    let at = "SELECT count(*) FROM orders WHERE (id = 1 AND at = '2025-07-01T10:00:00Z') \
              OR (id IN (2, 4) AND at = '2025-01-01T11:00:00Z')";
    assert_eq!(number(&engine, at).await, 3);

    let other = load(&engine, Format::Csv, "id;price\n5;1.5\n", stated(&[("decimal_mark", ".")]));
    let error = other.await.unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    let says = "decimal_mark \".\" was given, and the dataset stores decimal_mark \",\"";
    assert!(error.to_string().contains(says), "{error}");
    let change = Reshape::Settings {
        set: vec![("decimal_mark".to_owned(), ".".to_owned())],
        unset: vec!["zone".to_owned()],
    };
    engine.reshape(&who(), &name("orders"), change, label("settings")).await.unwrap();
    assert_eq!(stored_settings(&engine).await, "decimal_mark=., date_order=dmy");
    load(&engine, Format::Csv, "id;price\n5;1.5\n", stored()).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM orders WHERE price = 1.5").await, 1);
}

#[tokio::test]
async fn a_row_with_a_skipped_or_repeated_local_time_is_rejected_with_the_reason() {
    let engine = with(orders()).await;
    let text = "id,at\n1,2025-03-30 02:30:00\n2,2025-10-26 02:30:00\n3,2025-03-30 03:30:00\n";
    let receipt = load(&engine, Format::Csv, text, stated(&[("zone", "Europe/Berlin")])).await;
    let receipt = receipt.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (1, 2));
    let reasons = query(&engine, "SELECT reason FROM orders_quarantine").await;
    assert!(reasons.contains("does not exist in Europe/Berlin"), "{reasons}");
    assert!(reasons.contains("exists twice in Europe/Berlin"), "{reasons}");
}

#[tokio::test]
async fn a_stored_zone_holds_for_every_format() {
    let engine = with(orders()).await;
    let first = "id,at\n1,2025-07-01 12:00\n";
    load(&engine, Format::Csv, first, stated(&[("zone", "Europe/Berlin")])).await.unwrap();
    let at =
        |text: &str| text.parse::<chrono::NaiveDateTime>().unwrap().and_utc().timestamp_micros();
    let local = ["2025-07-01T12:00:00", "2025-03-30T02:30:00"].map(at);
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![2, 3])) as ArrayRef),
        ("at", Arc::new(TimestampMicrosecondArray::from(local.to_vec()))),
    ])
    .unwrap();
    let mut stream = Vec::new();
    let writer = arrow::ipc::writer::StreamWriter::try_new(&mut stream, &batch.schema());
    let mut writer = writer.unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let bytes = Bytes::from(stream);
    // As a file and as a request that others share a commit with.
    let source = Source::Body { bytes: bytes.clone(), name: "f".to_owned() };
    let (who, orders, format) = (who(), name("orders"), Format::ArrowStream);
    let loaded = engine.load(&who, &orders, source, format, stored()).await.unwrap();
    assert_eq!((loaded.accepted, loaded.quarantined), (1, 1));
    let rows = IngestRows::Body { bytes, format: Format::ArrowStream, name: "f".to_owned() };
    let request = IngestRequest { rows, producer: None };
    let receipt = engine.ingest(&who, &orders, request).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (1, 1));
    let same = "SELECT count(*) FROM orders WHERE at = '2025-07-01T10:00:00Z'";
    assert_eq!(number(&engine, same).await, 3);
    let reasons = query(&engine, "SELECT reason FROM orders_quarantine").await;
    assert!(reasons.contains("does not exist in Europe/Berlin"), "{reasons}");
}

#[tokio::test]
async fn of_a_load_that_fails_no_setting_is_stored() {
    let engine = with(orders()).await;
    let none = LoadOptions {
        rejects_max: Some(crate::RejectsMax::Rows(0)),
        ..stated(&[("decimal_mark", "comma")])
    };
    load(&engine, Format::Csv, "id;price\n1;x\n", none).await.unwrap_err();
    // Neither does a load whose rows all go to quarantine.
    let all = load(&engine, Format::Csv, "id;price\n1;x\n", stated(&[("decimal_mark", "comma")]));
    assert_eq!(all.await.unwrap().quarantined, 1);
    assert_eq!(stored_settings(&engine).await, "");
    let unused = load(&engine, Format::Parquet, "", stated(&[("date_order", "dmy")]));
    let error = unused.await.unwrap_err().to_string();
    assert!(error.contains("the file is parquet; date_order is an option of CSV"), "{error}");
}

#[tokio::test]
async fn a_numbered_request_obeys_the_policy_and_its_retry_is_a_duplicate() {
    let engine = with(orders()).await;
    let ask = async |on_conflict, number, price| {
        let text = format!("{{\"id\": 1, \"price\": {price}}}\n");
        let producer = Some(("p".to_owned(), number));
        let options = LoadOptions { on_conflict, producer, ..LoadOptions::default() };
        load(&engine, Format::Ndjson, &text, options).await
    };
    let price = async || query(&engine, "SELECT price FROM orders").await;
    assert_eq!(ask(OnConflict::Again, 1, 1).await.unwrap().accepted, 1);
    assert!(ask(OnConflict::Again, 1, 1).await.unwrap().duplicate);
    // A refused request does not use up its number.
    assert_eq!(ask(OnConflict::Again, 2, 2).await.unwrap_err().code(), Code::Conflict);
    let replaced = ask(OnConflict::Replace, 2, 2).await.unwrap();
    assert_eq!((replaced.accepted, replaced.replaced), (1, 1));
    assert_eq!(ask(OnConflict::Replace, 3, 3).await.unwrap().replaced, 1);
    // Retrying an older request does not restore its row.
    assert!(ask(OnConflict::Replace, 2, 2).await.unwrap().duplicate);
    assert!(price().await.contains("3.0"));
    assert_eq!(ask(OnConflict::Replace, 3, 4).await.unwrap_err().code(), Code::Conflict);
    let skipped = ask(OnConflict::Skip, 4, 5).await.unwrap();
    assert_eq!((skipped.accepted, skipped.skipped), (0, 1));
    assert!(ask(OnConflict::Skip, 4, 5).await.unwrap().duplicate);
    let gap = ask(OnConflict::Skip, 9, 5).await.unwrap_err();
    assert!(gap.to_string().contains("expected 5"), "{gap}");
    assert_eq!(number(&engine, "SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn a_request_without_a_policy_uses_the_datasets() {
    let of = async |spec: DatasetSpec, numbering| {
        let engine = with(spec).await;
        engine.stored_on_conflict(&who(), &name("orders"), numbering).await.unwrap()
    };
    let with_policy =
        |policy: &str| DatasetSpec { load: settings(&[("on_conflict", policy)]), ..orders() };
    let (numbered, unnumbered) = (Numbering::Numbered, Numbering::Unnumbered);
    assert_eq!(of(orders(), unnumbered).await, OnConflict::Again);
    assert_eq!(of(orders(), numbered).await, OnConflict::Add);
    assert_eq!(of(with_policy("replace"), numbered).await, OnConflict::Replace);
    assert_eq!(of(with_policy("add"), unnumbered).await, OnConflict::Add);
    assert_eq!(of(with_policy("refuse"), numbered).await, OnConflict::Again);
    let keyless = DatasetSpec { key: Vec::new(), ..orders() };
    assert_eq!(of(keyless.clone(), unnumbered).await, OnConflict::Add);
    // Without a key, existing rows cannot be recognized.
    let wrong = DatasetSpec { load: settings(&[("on_conflict", "replace")]), ..keyless };
    assert!(wrong.check().unwrap_err().to_string().contains("needs a key"));

    let engine = with(with_policy("replace")).await;
    for price in [1, 2] {
        let text = format!("{{\"id\": 1, \"price\": {price}}}\n");
        load(&engine, Format::Ndjson, &text, stored()).await.unwrap();
    }
    assert_eq!(number(&engine, "SELECT count(*) FROM orders WHERE price = 2").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn new_columns_of_a_file_are_added_only_on_request() {
    let engine = with(orders()).await;
    let text = "id,colour,size\n1,red,7\n";
    let error = load(&engine, Format::Csv, text, stored()).await.unwrap_err().to_string();
    for says in ["\"colour\"", "\"size\"", "--add-columns", "colonnade alter orders --add"] {
        assert!(error.contains(says), "{says}: {error}");
    }
    let lines = "{\"id\": 1, \"colour\": \"red\"}\n{\"id\": 2}\n";
    let receipt = load(&engine, Format::Ndjson, lines, stored()).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (1, 1));
    assert!(receipt.causes[0].cause.contains("colour"), "{:?}", receipt.causes);
    let add = || LoadOptions { new_columns: NewColumns::Add, ..stored() };
    assert_eq!(load(&engine, Format::Csv, text, add()).await.unwrap().added_columns.len(), 2);
    let lines = "{\"id\": 3, \"shape\": \"round\"}\n";
    let receipt = load(&engine, Format::Ndjson, lines, add()).await.unwrap();
    assert_eq!(receipt.added_columns, ["shape"]);
    let spec = engine.catalog(&who()).await.unwrap().datasets[&name("orders")].spec.clone();
    assert_eq!((spec.evolution, spec.columns.len()), (Evolution::Fixed, 7));
    let change = Reshape::Settings {
        set: vec![("evolution".to_owned(), "add_nullable".to_owned())],
        unset: Vec::new(),
    };
    engine.reshape(&who(), &name("orders"), change, label("settings")).await.unwrap();
    let more = load(&engine, Format::Csv, "id,weight\n4,7\n", stored()).await.unwrap();
    assert_eq!(more.added_columns, ["weight"]);
}

#[tokio::test]
async fn a_row_whose_partition_cannot_be_written_is_rejected_alone() {
    let mut spec = orders();
    spec.partition_by = vec![datasets::PartitionSpec {
        column: "shop".to_owned(),
        from: None,
        transform: <_>::default(),
    }];
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path().to_str().unwrap())).await.unwrap();
    engine.create_dataset(&who(), spec).await.unwrap();
    let shops = ["berlin", "", "__HIVE_DEFAULT_PARTITION__", &"x".repeat(300), "a/b c\n", ".."];
    let line =
        |(at, shop): (usize, &&str)| format!("{}\n", serde_json::json!({"id": at, "shop": shop}));
    let text: String = shops.iter().enumerate().map(line).collect();
    let receipt = load(&engine, Format::Ndjson, &text, stored()).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (3, 3), "{:?}", receipt.causes);
    let reasons = query(&engine, "SELECT reason FROM orders_quarantine").await;
    assert!(reasons.contains("\"shop\"") && reasons.contains("xxxxxxxx"), "{reasons}");
    let request = IngestRequest { rows: ndjson(&text), producer: None };
    let receipt = engine.ingest(&who(), &name("orders"), request).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (3, 3));
    let odd = "SELECT count(*) FROM orders WHERE shop = '..'";
    assert_eq!(number(&engine, odd).await, 2);
}
