//! What was written is read back by the readers that others have.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
    DictionaryArray, DurationSecondArray, Float64Array, Int32Array, Int64Array, Int64Builder,
    LargeStringArray, ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StringViewArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// Three rows of every kind of type, with nulls, what JSON has no number for, and what CSV must quote.
fn rows() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), None]);
    tags.append_null();
    tags.append_value::<[Option<&str>; 0], _>([]);
    let mut sizes = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    sizes.keys().append_value("S");
    sizes.values().append_value(7);
    for is_there in [true, false, true] {
        sizes.append(is_there).unwrap();
    }
    let city = Field::new("city", DataType::Utf8, true);
    let zip = Field::new("zip", DataType::Int32, true);
    let address = StructArray::new(
        vec![city, zip].into(),
        vec![
            Arc::new(StringArray::from(vec![Some("Köln"), Some("kept back"), None])),
            Arc::new(Int32Array::from(vec![Some(50_667), Some(1), None])),
        ],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let model: DictionaryArray<Int32Type> =
        vec![Some("alpha"), Some("beta"), None].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![i64::MAX, -1, 0]))),
        ("text", Arc::new(StringArray::from(vec![Some("a \"b\", c\nd"), None, Some("=1+1")]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("ratio", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN), None]))),
        (
            "cost",
            Arc::new(
                Decimal128Array::from(vec![Some(1_500_000), Some(-1), None])
                    .with_precision_and_scale(18, 6)
                    .unwrap(),
            ),
        ),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_767_225_600_000_001), None, Some(0)])
                    .with_timezone("UTC"),
            ),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(20_454), None, Some(0)]))),
        ("digest", Arc::new(BinaryArray::from(vec![Some(&b"hello"[..]), None, Some(b"")]))),
        ("model", Arc::new(model)),
        ("tags", Arc::new(tags.finish())),
        ("address", Arc::new(address)),
        ("sizes", Arc::new(sizes.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

/// All batches, as bytes.
fn written(batches: &[RecordBatch], options: &ExportOptions) -> Vec<u8> {
    let pieces = Pieces::default();
    let mut encoder = Encoder::new(pieces.clone(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        assert!(encoder.write(batch).unwrap().is_continue());
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(encoder.rows(), rows as u64);
    assert!(encoder.finish().unwrap().is_continue());
    pieces.take().to_vec()
}

fn csv(batch: &RecordBatch, change: impl Fn(&mut CsvOptions)) -> String {
    let mut options = ExportOptions::of(Form::Csv);
    change(&mut options.csv);
    String::from_utf8(written(std::slice::from_ref(batch), &options)).unwrap()
}

#[test]
fn arrow_and_parquet_are_read_back_as_they_were() {
    let batches = [rows(), rows().slice(1, 2), rows().slice(0, 0)];
    let all = arrow::compute::concat_batches(&rows().schema(), &batches).unwrap();
    let joined =
        |read: Vec<RecordBatch>| arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    for packing in [Packing::None, Packing::Zstd] {
        let options = ExportOptions { packing, ..ExportOptions::of(Form::ArrowStream) };
        let bytes = written(&batches, &options);
        let read = arrow::ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
        assert_eq!(joined(read.collect::<Result<_, _>>().unwrap()), all);
        // A dictionary that changes has no place in a file.
        let plain: Vec<usize> = (0..all.num_columns()).filter(|at| *at != 8).collect();
        let of_file: Vec<_> = batches.iter().map(|b| b.project(&plain).unwrap()).collect();
        let bytes = written(&of_file, &ExportOptions { form: Form::ArrowFile, ..options });
        let read = arrow::ipc::reader::FileReader::try_new(io::Cursor::new(bytes), None).unwrap();
        assert_eq!(joined(read.collect::<Result<_, _>>().unwrap()), all.project(&plain).unwrap());
    }
    for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
        let options = ExportOptions { packing, ..ExportOptions::of(Form::Parquet) };
        let bytes = bytes::Bytes::from(written(&batches, &options));
        let read = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        assert_eq!(joined(read.collect::<Result<_, _>>().unwrap()), all);
    }
    let gzip = ExportOptions { packing: Packing::Gzip, ..ExportOptions::of(Form::ArrowStream) };
    let error = Encoder::new(Pieces::default(), &rows().schema(), &gzip).unwrap_err();
    assert!(error.to_string().contains("expected no packing, or zstd"), "{error}");
}

#[test]
fn json_has_every_digit_and_a_text_for_what_is_no_number() {
    let lines = String::from_utf8(written(&[rows()], &ExportOptions::of(Form::Ndjson))).unwrap();
    let expected = [
        r#"{"id":9223372036854775807,"text":"a \"b\", c\nd","ok":true,"ratio":0.1,"cost":1.500000,"at":"2026-01-01T00:00:00.000001Z","day":"2026-01-01","digest":"aGVsbG8=","model":"alpha","tags":["a",null],"address":{"city":"Köln","zip":50667},"sizes":{"S":7}}"#,
        r#"{"id":-1,"text":null,"ok":false,"ratio":"NaN","cost":-0.000001,"at":null,"day":null,"digest":null,"model":"beta","tags":null,"address":null,"sizes":null}"#,
        r#"{"id":0,"text":"=1+1","ok":null,"ratio":null,"cost":null,"at":"1970-01-01T00:00:00Z","day":"1970-01-01","digest":"","model":null,"tags":[],"address":{"city":null,"zip":null},"sizes":{}}"#,
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    let array = written(&[rows(), rows()], &ExportOptions::of(Form::Json));
    let array = String::from_utf8(array).unwrap();
    let twice = [expected, expected].concat();
    assert_eq!(array, format!("[{}]\n", twice.join(",\n")));
    let nothing = written(&[rows().slice(0, 0)], &ExportOptions::of(Form::Json));
    assert_eq!(nothing, b"[]\n");
}

#[test]
fn csv_without_options_is_what_arrow_writes() {
    let scalars = rows().project(&[0, 1, 2, 3, 4, 5, 6, 8]).unwrap();
    let mut theirs = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut theirs);
    writer.write(&scalars).unwrap();
    drop(writer);
    assert_eq!(csv(&scalars, |_| ()), String::from_utf8(theirs).unwrap());
    // A line without a letter would be none.
    for (column, lines) in
        [(1, "text\n\"a \"\"b\"\", c\nd\"\n\"\"\n=1+1\n"), (2, "ok\ntrue\nfalse\n\"\"\n")]
    {
        assert_eq!(csv(&rows().project(&[column]).unwrap(), |_| ()), lines);
    }
    let nothing = RecordBatch::new_empty(scalars.schema());
    assert_eq!(csv(&nothing, |_| ()), "id,text,ok,ratio,cost,at,day,model\n");
    let pieces = Pieces::default();
    let none = Encoder::new(pieces.clone(), &scalars.schema(), &ExportOptions::of(Form::Csv));
    let _ = none.unwrap().finish().unwrap();
    assert_eq!(pieces.take(), "id,text,ok,ratio,cost,at,day,model\n");
}

#[test]
fn csv_is_read_back_by_arrow() {
    let kept = rows().project(&[0, 2, 3, 4, 6]).unwrap();
    let text = csv(&kept, |_| ());
    let reader = arrow::csv::ReaderBuilder::new(kept.schema()).with_header(true);
    let read = reader.build(text.as_bytes()).unwrap().next().unwrap().unwrap();
    assert_eq!(read, kept);
}

#[test]
fn a_structure_is_spread_over_columns_or_is_json() {
    let nested = rows().project(&[9, 10, 11]).unwrap();
    assert_eq!(
        csv(&nested, |_| ()),
        "tags,address,sizes\n\
         \"[\"\"a\"\",null]\",\"{\"\"city\"\":\"\"Köln\"\",\"\"zip\"\":50667}\",\"{\"\"S\"\":7}\"\n\
         ,,\n\
         [],\"{\"\"city\"\":null,\"\"zip\"\":null}\",{}\n"
    );
    // What stands in a structure that is null is nothing.
    assert_eq!(
        csv(&nested, |options| options.nested = NestedAs::Columns),
        "tags,address.city,address.zip,sizes\n\
         \"[\"\"a\"\",null]\",Köln,50667,\"{\"\"S\"\":7}\"\n\
         ,,,\n\
         [],,,{}\n"
    );
}

#[test]
fn delimiters_nulls_quotes_and_names_are_as_one_likes() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(StringArray::from(vec![Some("x;y"), Some(""), None, Some("NULL")]))),
        ("b", Arc::new(Int64Array::from(vec![Some(1), Some(-2), None, Some(3)]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let quoted = |quoting| csv(&batch, |options| options.quoting = quoting);
    assert_eq!(quoted(Quoting::Needed), "a,b\nx;y,1\n,-2\n,\nNULL,3\n");
    assert_eq!(quoted(Quoting::Texts), "\"a\",\"b\"\n\"x;y\",1\n\"\",-2\n,\n\"NULL\",3\n");
    assert_eq!(
        quoted(Quoting::Values),
        "\"a\",\"b\"\n\"x;y\",\"1\"\n\"\",\"-2\"\n,\n\"NULL\",\"3\"\n"
    );
    let other = csv(&batch, |options| {
        (options.delimiter, options.null) = (';', "NULL".to_owned());
        options.header = Header::Absent;
    });
    assert_eq!(other, "\"x;y\";1\n;-2\nNULL;NULL\n\"NULL\";3\n");
    for (delimiter, null, says) in [
        ('"', "", "the delimiter '\"'"),
        ('é', "", "the delimiter 'é'"),
        (',', "a,b", "the null \"a,b\""),
        (',', "\n", "the null \"\\n\""),
    ] {
        let mut options = ExportOptions::of(Form::Csv);
        options.csv = CsvOptions { delimiter, null: null.to_owned(), ..options.csv };
        let error = Encoder::new(Pieces::default(), &batch.schema(), &options).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_cell_that_a_spreadsheet_would_compute_is_a_text_where_that_is_asked_for() {
    let cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a=1", "'=1", "", "=\"a\""];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("=name", Arc::new(StringArray::from(cells.to_vec()))),
        ("n", Arc::new(Int64Array::from(vec![-1; cells.len()]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let escaped = csv(&batch, |options| options.formulas = Formulas::Escaped);
    let lines = [
        "'=name,n",
        "'=1+1,-1",
        "'+1,-1",
        "'-1,-1",
        "'@SUM(A1),-1",
        "'\t=1,-1",
        "\"'\r=1\",-1",
        "a=1,-1",
        "'=1,-1",
        ",-1",
        "\"'=\"\"a\"\"\",-1",
    ];
    assert_eq!(escaped, lines.join("\n") + "\n");
    assert!(csv(&batch, |_| ()).starts_with("=name,n\n=1+1,-1\n"));
}

#[test]
fn texts_are_packed_whole() {
    for form in [Form::Csv, Form::Ndjson, Form::Json] {
        let plain = written(&[rows(), rows()], &ExportOptions::of(form));
        let packed = |packing| {
            written(&[rows(), rows()], &ExportOptions { packing, ..ExportOptions::of(form) })
        };
        let mut unpacked = Vec::new();
        let gzip = packed(Packing::Gzip);
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        assert_eq!(zstd::decode_all(&packed(Packing::Zstd)[..]).unwrap(), plain);
    }
}

#[test]
fn a_file_can_be_held_against_its_tally() {
    let mut file = tempfile::tempfile().unwrap();
    let (tally, to) = Tally::over(file.try_clone().unwrap());
    let mut encoder =
        Encoder::new(to, &rows().schema(), &ExportOptions::of(Form::Parquet)).unwrap();
    let _ = encoder.write(&rows()).unwrap();
    let _ = encoder.finish().unwrap();
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let (check, mut again) = Tally::over(io::sink());
    again.write_all(&bytes).unwrap();
    assert_eq!(tally.tallied(), check.tallied());
    assert_eq!(tally.tallied().bytes, bytes.len() as u64);
    let (empty, _) = Tally::over(io::sink());
    assert!(empty.tallied().sha256.starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
}

/// Takes so many bytes, and then no more.
struct Leaving(usize, io::ErrorKind);

impl Write for Leaving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(self.1.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_is_no_error_and_a_full_disk_is() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    for form in Form::ALL {
        let outcome = |kind| {
            let to = Leaving(600, kind);
            let mut encoder = Encoder::new(to, &batch.schema(), &ExportOptions::of(form))?;
            match encoder.write(&batch)? {
                ControlFlow::Break(()) => Ok(ControlFlow::Break(())),
                ControlFlow::Continue(()) => encoder.finish(),
            }
        };
        assert_eq!(outcome(io::ErrorKind::BrokenPipe).unwrap(), ControlFlow::Break(()), "{form:?}");
        let error = outcome(io::ErrorKind::StorageFull).unwrap_err();
        assert_eq!(error.code(), Code::StorageUnavailable, "{form:?}: {error}");
    }
}

#[test]
fn what_is_held_does_not_grow_with_the_rows() {
    let pieces = Pieces::default();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 10); 1 << 10]));
    let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, false)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![texts]).unwrap();
    for form in [Form::Csv, Form::Ndjson, Form::Json, Form::ArrowStream, Form::ArrowFile] {
        let options = ExportOptions::of(form);
        let mut encoder = Encoder::new(pieces.clone(), &schema, &options).unwrap();
        pieces.take();
        for _ in 0..4 {
            let _ = encoder.write(&batch).unwrap();
            // Each is handed on before the next comes.
            assert!(pieces.take().len() >= 1 << 20, "{form:?}");
        }
        let _ = encoder.finish().unwrap();
        assert!(pieces.take().len() < 4 << 10, "{form:?}");
    }
    assert!(pieces.is_empty());
}

#[test]
fn a_long_value_is_written_part_by_part_and_is_read_back_as_it_was() {
    let text = "\u{1}\"ä,\n".repeat(100_000);
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 256) as u8).collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some(text.as_str()), Some("b")]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![text.as_str()]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&bytes[..]]))),
        ("tags", Arc::new(tags.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let json = written(std::slice::from_ref(&batch), &ExportOptions::of(Form::Ndjson));
    let row: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((row["text"].as_str(), row["tags"][0].as_str()), (Some(&*text), Some(&*text)));
    let base64 = row["bytes"].as_str().unwrap();
    assert_eq!(datasets::parse::base64_bytes(base64).unwrap(), bytes);
    let csv = csv(&batch, |_| ());
    let names = ["text", "bytes", "tags"].map(|name| Field::new(name, DataType::Utf8, true));
    let reader = arrow::csv::ReaderBuilder::new(Arc::new(Schema::new(names.to_vec())));
    let read = reader.with_header(true).build(csv.as_bytes()).unwrap().next().unwrap().unwrap();
    let cell = |at: usize| read.column(at).as_string::<i32>().value(0).to_owned();
    assert_eq!((cell(0), cell(1)), (text.clone(), base64.to_owned()));
    assert_eq!(cell(2), row["tags"].to_string());
}

#[test]
fn a_text_may_be_as_long_as_what_is_written_at_once() {
    for length in [65_533, 65_534, 65_535, 65_536, 65_600, 131_072] {
        let text = "x".repeat(length);
        let batch: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(), "", "y"]));
        let batch = RecordBatch::try_from_iter([("text", batch)]).unwrap();
        assert_eq!(csv(&batch, |_| ()), format!("text\n{text}\n\"\"\ny\n"));
    }
}

#[test]
fn a_time_that_cannot_be_formatted_is_an_error_that_names_its_column() {
    let far = || vec![i64::MAX];
    let columns: [ArrayRef; 4] = [
        Arc::new(TimestampSecondArray::from(far())),
        Arc::new(TimestampMillisecondArray::from(far())),
        Arc::new(DurationSecondArray::from(far())),
        Arc::new(Date64Array::from(far())),
    ];
    for column in columns {
        let kind = column.data_type().clone();
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        for form in [Form::Json, Form::Ndjson, Form::Csv, Form::Xlsx] {
            let options = ExportOptions::of(form);
            let mut encoder = Encoder::new(Pieces::default(), &batch.schema(), &options).unwrap();
            let error = encoder.write(&batch).unwrap_err();
            assert_eq!(error.code(), Code::BadInput, "{form:?} {kind}: {error}");
            assert!(error.to_string().contains("column t"), "{form:?} {kind}: {error}");
        }
    }
}

#[test]
fn a_dictionary_without_values_is_written_as_nulls() {
    let nulls: DictionaryArray<Int32Type> = [None::<&str>, None].into_iter().collect();
    let batch = RecordBatch::try_from_iter([("d", Arc::new(nulls) as ArrayRef)]).unwrap();
    assert_eq!(csv(&batch, |_| ()), "d\n\"\"\n\"\"\n");
    let json = written(&[batch], &ExportOptions::of(Form::Ndjson));
    assert_eq!(json, b"{\"d\":null}\n{\"d\":null}\n");
}

#[test]
fn an_answer_for_which_there_is_no_memory_is_refused() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(4 << 20)]));
    let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
    for form in [Form::Json, Form::Ndjson, Form::Csv, Form::ArrowStream] {
        let options = ExportOptions::of(form);
        let mut encoder = Encoder::new(Pieces::counted(&pool), &batch.schema(), &options).unwrap();
        let error = encoder.write(&batch).unwrap_err();
        assert_eq!(error.code(), Code::ResourcesExhausted, "{form:?}: {error}");
        drop(encoder);
        assert_eq!(pool.reserved(), 0, "{form:?}");
    }
}

/// A sink that notes how much it gets at once.
struct Longest(Arc<AtomicUsize>);

impl Write for Longest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_max(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_encoder_of_text_never_holds_much_of_a_long_value() {
    let text = "\u{1}".repeat(1 << 20);
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some(text.as_str())]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![text.as_str()]))),
        ("bytes", Arc::new(BinaryArray::from(vec![text.as_bytes()]))),
        ("tags", Arc::new(tags.finish())),
        ("large", Arc::new(LargeStringArray::from(vec![text.as_str()]))),
        ("view", Arc::new(StringViewArray::from(vec![text.as_str()]))),
        (
            "model",
            Arc::new([Some(text.as_str())].into_iter().collect::<DictionaryArray<Int32Type>>()),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for form in [Form::Json, Form::Ndjson, Form::Csv] {
        let longest = Arc::default();
        let sink = Longest(Arc::clone(&longest));
        let mut encoder = Encoder::new(sink, &batch.schema(), &ExportOptions::of(form)).unwrap();
        let _ = encoder.write(&batch).unwrap();
        let _ = encoder.finish().unwrap();
        let most = longest.load(Ordering::Relaxed);
        assert!((1..400 << 10).contains(&most), "{form:?}: {most} bytes at once");
    }
}
