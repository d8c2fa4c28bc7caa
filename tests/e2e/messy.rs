//! Files as people have them: semicolons, Latin-1, decimal commas, dates with their day first, a few bad rows.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DurationMillisecondArray, Int64Array, LargeStringArray, ListArray, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::harness::{Outcome, colonnade};

/// 200 orders as a spreadsheet writes them, of which one has no number of pieces and one is there twice.
pub fn orders() -> Vec<u8> {
    let mut text = "Bestell-Nr;Größe;Unit Price;Menge;Bestellt am;Bemerkung\r\n".to_owned();
    for n in 1..=200_u32 {
        let pieces = if n == 43 { "drei".to_owned() } else { (n % 7 + 1).to_string() };
        let price = if n == 77 { "1.234,50".to_owned() } else { format!("{},{:02}", n, n % 100) };
        let note = if n % 3 == 0 { "schön" } else { "k.A." };
        let (day, month) = (n % 28 + 1, n % 12 + 1);
        text += &format!("{n};M;{price};{pieces};{day:02}.{month:02}.2026;{note}\r\n");
    }
    text += "2;S;3,99;2;01.02.2026;doppelt\r\n";
    latin1(&text)
}

/// 240 mails as a help desk exports them, every fourth without a category; the header `truth` has it.
pub fn write_mails(path: &Path) {
    const TOPICS: [(&str, &str, &str); 3] = [
        (
            "exchange_rate",
            "exchange rate",
            "the rate of the currency was applied wrongly to my payment",
        ),
        ("card_arrival", "card", "my new card has not arrived in the post"),
        ("refund", "money back", "how do I get a refund for what I bought in the shop"),
    ];
    let beginnings = ["hello", "please help", "still", "again", "sorry", "today", "since monday"];
    let ends = ["thanks", "what can I do", "is that right", "please call me", "any news"];
    let ids: Vec<u32> = (1..=240).collect();
    let topic = |id: &u32| TOPICS[*id as usize % 3];
    let body = |id: &u32| {
        let (beginning, end) = (beginnings[*id as usize % 7], ends[*id as usize % 5]);
        format!("{beginning} {} {end} {id}", topic(id).2)
    };
    let texts = |text: &dyn Fn(&u32) -> String| {
        Arc::new(LargeStringArray::from_iter_values(ids.iter().map(text))) as ArrayRef
    };
    let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let structure = |parts: Vec<(&str, ArrayRef)>| {
        let fields: Fields = parts.iter().map(|(name, array)| field(name, array)).collect();
        let columns = parts.into_iter().map(|(_, array)| array).collect();
        Arc::new(StructArray::new(fields, columns, None)) as ArrayRef
    };
    let city = |id: &u32| ["Bonn", "Ulm", "Jena"][*id as usize % 5 % 3].to_owned();
    let address =
        structure(vec![("City", texts(&city)), ("Zip", texts(&|id| format!("{:05}", id * 37)))]);
    let customer =
        structure(vec![("Name", texts(&|id| format!("customer {id}"))), ("Address", address)]);
    // Two messages of each.
    let messages: Vec<u32> = (0..480).collect();
    let author = |at: &u32| if at.is_multiple_of(2) { "customer" } else { "agent" };
    let authors = StringArray::from_iter_values(messages.iter().map(author));
    let said = StringArray::from_iter_values(messages.iter().map(|at| format!("message {at}")));
    let items = structure(vec![("Author", Arc::new(authors)), ("Text", Arc::new(said))]);
    let ends_of = OffsetBuffer::from_lengths(std::iter::repeat_n(2, ids.len()));
    let thread = ListArray::new(Arc::new(field("item", &items)), ends_of, items, None);
    let mut headers = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for id in &ids {
        for (key, value) in
            [("priority", if id % 6 == 0 { "high" } else { "low" }), ("truth", topic(id).0)]
        {
            headers.keys().append_value(key);
            headers.values().append_value(value);
        }
        headers.append(true).unwrap();
    }
    let category = |id: &u32| (!id.is_multiple_of(4)).then_some(topic(id).0);
    let opened = ids.iter().map(|id| 1_767_225_600_000 + i64::from(*id) * 3_600_000);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("Id", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| i64::from(*id))))),
        ("Opened", Arc::new(TimestampMillisecondArray::from_iter_values(opened))),
        ("Subject", texts(&|id| topic(id).1.to_owned())),
        ("Body", texts(&body)),
        ("Category", Arc::new(ids.iter().map(category).collect::<StringArray>())),
        ("Customer", customer),
        ("Thread", Arc::new(thread)),
        ("Headers", Arc::new(headers.finish())),
        (
            "Handling",
            Arc::new(DurationMillisecondArray::from_iter_values(
                ids.iter().map(|id| i64::from(*id) * 1_000),
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

async fn ask(folder: &Path, arguments: &[&str]) -> Outcome {
    colonnade(&folder.join("data"), arguments).await
}

#[tokio::test]
async fn a_messy_file_becomes_what_its_owner_means() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.csv");
    std::fs::write(&path, orders()).unwrap();
    let (file, spec) = (path.to_str().unwrap(), folder.path().join("orders.toml"));
    let spec = spec.to_str().unwrap();

    // What it would be if nothing were said, and why.
    let first = ask(folder.path(), &["ingest", "orders", file, "--create", "--dry-run"]).await;
    assert!(first.status.success(), "{}", first.stderr);
    for says in [
        "orders.csv: read as windows-1252",
        "orders.csv: fields are separated by ';'",
        "unit_price is text, and most of its values look like numbers with a decimal comma (--decimal-comma)",
        "menge is text: 1 of 201 values is not int64, the first in row 43 on line 44: \"drei\" (--mostly",
        "bestellt_am is text, and most of its values look like dates with their day first (--date-order dmy)",
        "names of columns: \"Bestell-Nr\" is bestell_nr, \"Größe\" is groesse, \"Unit Price\" is unit_price, \"Bestellt am\" is",
        "orders.csv: 201 rows would be loaded, 0 would go to quarantine; none was",
    ] {
        assert!(first.stderr.contains(says), "{says}\n{}", first.stderr);
    }
    assert!(!folder.path().join("data").exists(), "a trial leaves nothing");

    let said = [
        "ingest",
        "orders",
        file,
        "--create",
        "--key",
        "Bestell-Nr",
        "--decimal-comma",
        "--date-order",
        "dmy",
        "--null",
        "k.A.",
        "--mostly",
        "0.99",
    ];
    let tried =
        ask(folder.path(), &[&said[..], &["--dry-run", "--write-spec", spec]].concat()).await;
    assert!(tried.status.success(), "{}", tried.stderr);
    let says = "menge is int64: 1 of 201 values is not int64, the first in row 43 on line 44: \"drei\"; values that do not fit go to quarantine";
    assert!(tried.stderr.contains(says), "{}", tried.stderr);
    assert!(
        tried.stderr.contains("200 rows would be loaded, 1 would go to quarantine"),
        "{}",
        tried.stderr
    );
    let written = std::fs::read_to_string(spec).unwrap();
    assert_eq!(written.trim(), tried.stdout.trim());
    for says in ["key = [\"bestell_nr\"]", "decimal(18,2)", "type = \"date\"", "name = \"groesse\""]
    {
        assert!(written.contains(says), "{says}\n{written}");
    }
    // Where it is there as it would be written, all is well; another one stays.
    let again = async || {
        ask(folder.path(), &[&said[..], &["--dry-run", "--write-spec", spec]].concat()).await
    };
    assert!(again().await.status.success());
    std::fs::write(spec, format!("# Mine.\n{written}")).unwrap();
    let refused = again().await;
    let says = refused.fails_with("CONFLICT");
    assert!(says.contains("there is another file already"), "{says}");
    assert!(std::fs::read_to_string(spec).unwrap().starts_with("# Mine."));

    // The key is there twice, which is said before anything is loaded.
    let twice = ask(folder.path(), &[&said[..], &["--on-conflict", "error"]].concat()).await;
    let says = twice.fails_with("CONFLICT");
    assert!(says.contains("1 key stands in the file more than once, such as 2"), "{says}");
    let loaded = ask(folder.path(), &[&said[..], &["--on-conflict", "skip", "--json"]].concat())
        .await
        .json();
    let of = &loaded["files"][0];
    assert_eq!(
        (&of["accepted"], &of["quarantined"], &of["skipped"]),
        (&json!(199), &json!(1), &json!(1))
    );
    let query = "SELECT bestell_nr, groesse, unit_price, menge, bestellt_am, bemerkung FROM orders \
                 WHERE bestell_nr IN (2, 77) ORDER BY bestell_nr";
    let rows = ask(folder.path(), &["sql", query, "--format", "csv"]).await;
    let expected = "bestell_nr,groesse,unit_price,menge,bestellt_am,bemerkung\n2,M,2.02,3,2026-03-03,\n77,M,1234.50,1,2026-06-22,\n";
    assert_eq!(rows.stdout, expected);
    let umlaut = "SELECT count(*) AS n FROM orders WHERE bemerkung = 'schön'";
    assert_eq!(ask(folder.path(), &["sql", umlaut, "--format", "json"]).await.json()[0]["n"], 66);

    // The same by the spec that was written; and what is there stays what it is.
    let by_spec = [
        "ingest",
        "orders",
        file,
        "--spec",
        spec,
        "--decimal-comma",
        "--date-order",
        "dmy",
        "--null",
        "k.A.",
    ];
    let says = ask(folder.path(), &by_spec).await;
    assert!(
        says.fails_with("CONFLICT").contains("199 keys are in orders already"),
        "{}",
        says.stderr
    );
    let other =
        ask(folder.path(), &["ingest", "orders", file, "--create", "--key", "groesse"]).await;
    let says =
        "ingest into orders: it is there already and has the key bestell_nr; --key says another";
    assert_eq!(other.fails_with("CONFLICT"), says);
}

#[tokio::test]
async fn what_a_file_is_called_on_to_be_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let utf16: Vec<u8> =
        "\u{feff}id,größe\n1,ä\n2,ö\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = write("utf16.csv", &utf16);
    let loaded = ask(folder.path(), &["ingest", "sizes", &utf16, "--create", "--key", "id"]).await;
    assert!(loaded.status.success(), "{}", loaded.stderr);
    let rows =
        ask(folder.path(), &["sql", "SELECT * FROM sizes ORDER BY id", "--format", "csv"]).await;
    assert_eq!(rows.stdout, "id,groesse\n1,ä\n2,ö\n");

    let twice = write("twice.csv", b"a,b,a\n1,2,3\n");
    let says = ask(folder.path(), &["ingest", "twice", &twice, "--create"]).await;
    let expected = "twice.csv: the header on line 1 names \"a\" twice: columns 1 and 3; rename one of them (--rename \"#3=NAME\")";
    assert!(says.fails_with("BAD_INPUT").ends_with(expected), "{}", says.stderr);
    let alike = write("alike.csv", b"Unit Price,unit_price\n1,2\n");
    let says = ask(folder.path(), &["ingest", "alike", &alike, "--create"]).await;
    let expected = "columns \"unit_price\" and \"Unit Price\" are both unit_price; rename one of them (--rename \"Unit Price=unit_price_2\")";
    assert!(says.fails_with("BAD_INPUT").ends_with(expected), "{}", says.stderr);
    let plain = write("plain.csv", b"id,price\n1,2.50\n2,3.99\n");
    for (more, code, expected) in [
        (&["--key", "number"][..], 1, "key: there is no column \"number\"; there are id, price"),
        (&["--time", "id"], 1, "time column \"id\" is int64; expected timestamp or date"),
        (&["--type", "price=money"], 2, "column type \"money\": expected bool, int32"),
        (&["--type", "price"], 2, "expected COLUMN=TYPE"),
        (&["--mostly", "0"], 2, "expected a share above 0 up to 1"),
        (&["--encoding", "ebcdic"], 2, "expected a WHATWG encoding"),
        (&["--delimiter", "::"], 2, "expected one ASCII character, or tab"),
    ] {
        let outcome =
            ask(folder.path(), &[&["ingest", "plain", &plain, "--create"], more].concat()).await;
        assert_eq!(outcome.status.code(), Some(code), "{more:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{more:?}: {}", outcome.stderr);
    }
    // Without --create there is nothing that the flags could be about.
    let without = ask(folder.path(), &["ingest", "plain", &plain, "--key", "id"]).await;
    assert_eq!(without.status.code(), Some(2), "{}", without.stderr);
    let datasets = ask(folder.path(), &["datasets", "--json"]).await.json();
    assert_eq!(
        datasets.as_array().map(Vec::len),
        Some(1),
        "nothing was made of what failed: {datasets}"
    );

    // A dataset that is there has its time column.
    let timed = write("timed.csv", b"at,seen\n2026-01-01 10:00:00,2026-01-02 10:00:00\n");
    for (time, code) in [("at", 0), ("seen", 1), ("at", 0)] {
        let flags = ["ingest", "timed", &timed, "--create", "--time", time, "--on-conflict", "add"];
        let outcome = ask(folder.path(), &flags).await;
        assert_eq!(outcome.status.code(), Some(code), "{time}: {}", outcome.stderr);
        if code == 1 {
            let says = "has the time column at; --time says another";
            assert!(outcome.fails_with("CONFLICT").ends_with(says), "{}", outcome.stderr);
        }
    }

    // As it is said, and not as it is found.
    let said = ["--no-header", "--delimiter", ";", "--type", "column_1=text"];
    let odd = write("odd.csv", b"1;2\n3;4\n");
    let made =
        ask(folder.path(), &[&["ingest", "odd", &odd, "--create"], &said[..]].concat()).await;
    assert!(made.status.success(), "{}", made.stderr);
    let rows =
        ask(folder.path(), &["sql", "SELECT * FROM odd ORDER BY 1", "--format", "csv"]).await;
    assert_eq!(rows.stdout, "column_1,column_2\n1,2\n3,4\n");
}

/// What is told of several files is what became of them; what would become of them is told as it would be.
#[tokio::test]
async fn of_several_files_those_before_one_that_fails_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ask = async |arguments: &[&str]| ask(folder.path(), arguments).await;
    let (a, b) = (file("a.csv", "id,n\n1,1\n2,2\n"), file("b.csv", "id,n\n3,x\n"));
    let c = file("c.csv", "id,n\n4,4\n5,y\n");
    ask(&["ingest", "t", &a, "--create", "--key", "id", "--json"]).await.json();
    for json in [false, true] {
        let d = file("d.csv", &format!("id,n\n{},7\n", if json { 7 } else { 8 }));
        let mut flags = vec!["ingest", "t", &d, &b, "--max-quarantined", "0"];
        flags.extend(json.then_some("--json"));
        let outcome = ask(&flags).await;
        let says = outcome.fails_with("BAD_INPUT");
        assert!(says.starts_with("b.csv: 1 of 1 rows do not fit"), "{says}");
        match json {
            false => assert!(outcome.stdout.contains("d.csv"), "{}", outcome.stdout),
            true => {
                let told = outcome.document();
                assert_eq!(
                    (&told["files"][0]["file"], &told["accepted"]),
                    (&json!("d.csv"), &json!(1))
                );
                assert_eq!(told["files"].as_array().map(Vec::len), Some(1));
                assert_eq!(told["error"], json!({"code": "BAD_INPUT", "message": says}));
            }
        }
    }

    // Rows that are there already do fit.
    let e = file("e.csv", "id,n\n1,1\nx,2\n");
    let skipped = ask(&["ingest", "t", &e, "--on-conflict", "skip", "--json"]).await.json();
    assert_eq!((&skipped["accepted"], &skipped["quarantined"]), (&json!(0), &json!(1)));

    // Nothing that a spec or a file brings is there without its rows.
    let spec = file(
        "t.toml",
        "name = \"t\"\nkey = [\"id\"]\nevolution = \"add_nullable\"\ncolumns = [{name = \"id\", type = \"int64\"}, \
         {name = \"n\", type = \"int64\", nullable = true}, {name = \"more\", type = \"text\", nullable = true}]\n",
    );
    let before = ask(&["datasets", "--json"]).await.json();
    let refused = ask(&["ingest", "t", &c, "--spec", &spec, "--max-quarantined", "0"]).await;
    refused.fails_with("BAD_INPUT");
    assert_eq!(ask(&["datasets", "--json"]).await.json(), before);
    ask(&["ingest", "t", &c, "--spec", &spec, "--json"]).await.json();
    let more =
        ask(&["sql", "SELECT count(*) AS n FROM t WHERE more IS NULL", "--format", "json"]).await;
    assert_eq!(more.json()[0]["n"], 5);

    // A trial says what would be refused, and what it does not look at.
    let tried = ask(&["ingest", "t", &c, "--dry-run", "--max-quarantined", "0"]).await;
    let says = tried.fails_with("BAD_INPUT");
    assert!(
        says.contains("1 of 2 rows do not fit, and at most 0 may; it would not be loaded"),
        "{says}"
    );
    let tried = ask(&["ingest", "t", &c, "--dry-run"]).await;
    assert!(tried.status.success(), "{}", tried.stderr);
    for says in ["1 rows would be loaded, 1 would go to quarantine", "with the same key (id)"] {
        assert!(tried.stderr.contains(says), "{}", tried.stderr);
    }
}
