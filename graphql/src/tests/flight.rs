//! Arrow Flight SQL, over a real port.

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo, TicketStatementQuery};
use arrow_flight::sql::{ProstMessageExt as _, metadata::SqlInfoDataBuilder};
use arrow_flight::{FlightInfo, Ticket};
use engine::{Grant, GrantSet, Grants, Mask, Role};
use futures::TryStreamExt as _;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::transport::{Channel, Endpoint};

use super::{Rig, who};
use crate::server::{ApiKey, ServerOptions};

type Client = FlightSqlServiceClient<Channel>;

async fn client(address: &str) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

async fn rows(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, String> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows = client.do_get(ticket).await.map_err(|error| error.to_string())?;
    rows.try_collect().await.map_err(|error| error.to_string())
}

async fn asked(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| error.to_string())?;
    rows(client, info).await
}

fn texts(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let texts = batches.iter().flat_map(|batch| batch.column(column).as_string::<i32>().iter());
    texts.map(|text| text.unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_that_were_described() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve_flight(ServerOptions::default()).await;
    let mut client = client(&address).await;
    let sql = "SELECT id, latency_ms FROM calls ORDER BY id";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    assert_eq!(schema.metadata()["colonnade.versions"], "{\"calls\":1}");
    // More rows come, and the ticket is of the version that was described.
    rig.append("calls", vec![super::calls()]).await;
    let found = rows(&mut client, info.clone()).await.unwrap();
    assert_eq!(found[0].schema().fields(), schema.fields());
    let before: usize = found.iter().map(RecordBatch::num_rows).sum();
    let now = asked(&mut client, sql).await.unwrap();
    assert_eq!(now.iter().map(RecordBatch::num_rows).sum::<usize>(), 2 * before);
    // It is good time and again.
    let again = rows(&mut client, info).await.unwrap();
    assert_eq!(texts(&again, 0), texts(&found, 0));
    // A query without rows has its columns.
    let none = client.execute("SELECT id FROM calls WHERE false".to_owned(), None).await.unwrap();
    assert_eq!(none.clone().try_decode_schema().unwrap().field(0).name(), "id");
    assert!(rows(&mut client, none).await.unwrap().iter().all(|batch| batch.num_rows() == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_bound_to_what_was_prepared() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve_flight(ServerOptions::default()).await;
    let mut client = client(&address).await;
    let value = |name: &str, value: &str| -> RecordBatch {
        let column: ArrayRef = std::sync::Arc::new(StringArray::from(vec![value]));
        RecordBatch::try_from_iter([(name, column)]).unwrap()
    };
    for (sql, name) in [
        ("SELECT id FROM calls WHERE id = ? AND 1 < 2", "0"),
        ("SELECT id FROM calls WHERE id = $1", "first"),
        ("SELECT id FROM calls WHERE id = $wanted", "wanted"),
    ] {
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
        assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "id", "{sql}");
        let values = prepared.parameter_schema().unwrap();
        assert_eq!(values.fields().len(), 1, "{sql}");
        assert_eq!(values.field(0).data_type(), &DataType::Utf8, "{sql}");
        for wanted in ["c1", "c2", "' OR true --"] {
            prepared.set_parameters(value(name, wanted)).unwrap();
            let info = prepared.execute().await.unwrap();
            let found = texts(&rows(&mut client, info).await.unwrap(), 0);
            let expected = if wanted.starts_with('c') { vec![wanted.to_owned()] } else { vec![] };
            assert_eq!(found, expected, "{sql}");
        }
        prepared.close().await.unwrap();
    }
    // The type of a value is that of what it is compared with.
    let typed = client.prepare("SELECT id FROM calls WHERE latency_ms > ?".to_owned(), None);
    let typed = typed.await.unwrap();
    assert_eq!(typed.parameter_schema().unwrap().field(0).data_type(), &DataType::Float64);
    for (sql, row, says) in [
        ("SELECT id FROM calls WHERE id = ?", None, "1 values, and none was bound"),
        (
            "SELECT id FROM calls WHERE id = ? AND model = ?",
            Some(value("a", "c1")),
            "2 values, and 1 were bound",
        ),
    ] {
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
        if let Some(row) = row {
            prepared.set_parameters(row).unwrap();
        }
        let error = prepared.execute().await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("BAD_INPUT"), "{error}");
    }
    let two: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["c1", "c2"]));
    let mut prepared =
        client.prepare("SELECT id FROM calls WHERE id = ?".to_owned(), None).await.unwrap();
    prepared.set_parameters(RecordBatch::try_from_iter([("a", two)]).unwrap()).unwrap();
    let error = prepared.execute().await.unwrap_err().to_string();
    assert!(error.contains("expected one row"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_out_what_there_is() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve_flight(ServerOptions::default()).await;
    let mut client = client(&address).await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&rows(&mut client, info).await.unwrap(), 0), ["colonnade"]);
    let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(schemas).await.unwrap();
    assert_eq!(texts(&rows(&mut client, info).await.unwrap(), 1), ["datasets"]);
    let tables = |pattern: &str| CommandGetTables {
        catalog: Some("colonnade".to_owned()),
        db_schema_filter_pattern: None,
        table_name_filter_pattern: Some(pattern.to_owned()),
        table_types: vec!["TABLE".to_owned()],
        include_schema: true,
    };
    let info = client.get_tables(tables("cal%")).await.unwrap();
    let found = rows(&mut client, info).await.unwrap();
    assert_eq!(texts(&found, 2), ["calls"]);
    assert!(!found[0].column(4).as_binary::<i32>().value(0).is_empty());
    // Each is a name in SQL.
    let count = "SELECT count(*) AS n FROM \"colonnade\".\"datasets\".\"calls\"";
    let count = asked(&mut client, count).await.unwrap();
    assert!(count[0].column(0).as_primitive::<Int64Type>().value(0) > 0);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&rows(&mut client, info).await.unwrap(), 0), ["TABLE"]);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    let about = rows(&mut client, info).await.unwrap();
    assert_eq!(about[0].num_rows(), 1);
    assert_eq!(about[0].schema().fields(), SqlInfoDataBuilder::schema().fields());
    let keys = arrow_flight::sql::CommandGetPrimaryKeys {
        catalog: None,
        db_schema: None,
        table: "calls".to_owned(),
    };
    let info = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(texts(&rows(&mut client, info).await.unwrap(), 3), ["id"]);
    let types = arrow_flight::sql::CommandGetXdbcTypeInfo { data_type: None };
    let info = client.get_xdbc_type_info(types).await.unwrap();
    assert_eq!(rows(&mut client, info).await.unwrap()[0].num_rows(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_is_given_that_part_and_nobody_else_anything() {
    let rig = Rig::with_calls().await;
    let masks = [("model".to_owned(), Mask::Hide)].into();
    let grant = Grant { rows: Some("id < 'c2'".to_owned()), masks };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let key = |secret: &str, grants| ApiKey {
        secret_sha256: Sha256::digest(secret).into(),
        tenant: who().tenant,
        subject: secret.to_owned(),
        roles: vec![Role::Reader],
        grants,
    };
    let keys =
        vec![key("whole", Grants::all()), key("narrow", Grants::limited(set, [].into()).unwrap())];
    let (address, _stop, _) =
        rig.serve_flight(ServerOptions { keys, ..ServerOptions::default() }).await;
    let mut nobody = client(&address).await;
    let error = asked(&mut nobody, "SELECT 1").await.unwrap_err();
    assert!(error.contains("UNAUTHENTICATED"), "{error}");
    let mut stranger = client(&address).await;
    let error = stranger.handshake("anybody", "secret").await.unwrap_err().to_string();
    assert!(error.contains("UNAUTHENTICATED"), "{error}");
    // With a name and a password, which is a key, and with the key alone.
    let mut whole = client(&address).await;
    whole.handshake("anybody", "whole").await.unwrap();
    let mut narrow = client(&address).await;
    narrow.set_token("narrow".to_owned());
    let sql = "SELECT id FROM calls ORDER BY id";
    let all = texts(&asked(&mut whole, sql).await.unwrap(), 0);
    assert!(all.len() > 2);
    assert_eq!(texts(&asked(&mut narrow, sql).await.unwrap(), 0), ["c0", "c1"]);
    let error = asked(&mut narrow, "SELECT model FROM calls").await.unwrap_err();
    assert!(error.contains("model"), "{error}");
    assert!(asked(&mut narrow, "SELECT * FROM audit").await.is_err());
    // A ticket of one who sees all shows another what they see.
    let info = whole.execute(sql.to_owned(), None).await.unwrap();
    assert_eq!(texts(&rows(&mut narrow, info).await.unwrap(), 0), ["c0", "c1"]);
    let tables = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = narrow.get_tables(tables).await.unwrap();
    let found = rows(&mut narrow, info).await.unwrap();
    assert_eq!(texts(&found, 2), ["calls"]);
    let schema = found[0].column(4).as_binary::<i32>().value(0);
    assert!(!schema.windows(5).any(|bytes| bytes == b"model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_its_words() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve_flight(ServerOptions::default()).await;
    let mut client = client(&address).await;
    for (sql, says) in [
        ("SELECT modl FROM calls", "model"),
        ("SELECT 1 FROM cals", "did you mean calls?"),
        ("DELETE FROM calls", "SELECT"),
        ("EXPLAIN SELECT id FROM calls", "EXPLAIN"),
        ("SELECT * FROM information_schema.tables", "information_schema"),
        ("SELECT ?, $1", "several of these"),
        ("", "expected one query"),
    ] {
        let error = asked(&mut client, sql).await.unwrap_err();
        assert!(error.contains(says), "{sql}: {error}");
    }
    let error = client.execute_update("DELETE FROM calls".to_owned(), None).await.unwrap_err();
    assert!(error.to_string().contains("only reads"), "{error}");
    let error = client.begin_transaction().await.unwrap_err();
    assert!(error.to_string().contains("no transactions"), "{error}");
    // Tickets of nobody, and broken ones.
    let of = |handle: &'static [u8]| TicketStatementQuery { statement_handle: handle.into() };
    let tickets = [
        of(b"").as_any().encode_to_vec(),
        of(b"{\"sql\":\"SELECT 1\",\"more\":1}").as_any().encode_to_vec(),
        of(b"{\"sql\":\"SELECT ?\",\"values\":\"AAAA\"}").as_any().encode_to_vec(),
        of(b"{\"sql\":\"SELECT id FROM calls\",\"versions\":{\"calls\":99}}")
            .as_any()
            .encode_to_vec(),
        vec![0xFF; 64],
        Vec::new(),
    ];
    for ticket in tickets {
        assert!(client.do_get(Ticket::new(ticket.clone())).await.is_err(), "{ticket:?}");
    }
    // Of a long pattern much would be made.
    for pattern in ["%".repeat(2_000), "a".repeat(2_000)] {
        let long = CommandGetTables {
            table_name_filter_pattern: Some(pattern),
            ..CommandGetTables::default()
        };
        let info = client.get_tables(long).await.unwrap();
        let error = rows(&mut client, info).await.unwrap_err();
        assert!(error.contains("LIMIT_EXCEEDED"), "{error}");
    }
    // It is spoken there alone, and nothing else is.
    let answer = reqwest::get(format!("http://{address}/healthz")).await.unwrap();
    assert_eq!(answer.status(), 415);
    assert!(answer.text().await.unwrap().contains("adbc_driver_flightsql"));
}
