//! The public conformance and corrupted-file collections, where the folder with them is at hand.
//!
//! What is checked of a corrupted file: an error that names it, or rows; never a panic, a hang, or memory
//! beyond the budget.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

use super::public_tests::shared_data;
use super::*;
use crate::conform::Conformer;
use crate::infer::{GuessOptions, guess, spec_from_schema};
use crate::{DatasetName, Error};

/// What reading a file came to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Rows(usize),
    Refused(String),
}

/// Reads a file to its end and, as an ingest would, makes its rows fit the spec made from its schema.
fn outcome(path: &Path, format: Format) -> Outcome {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let source = Source::File { path: path.to_owned(), name: name.clone() };
    let options = ReadOptions { decoded_budget_bytes: 64 * 1024 * 1024, ..ReadOptions::default() };
    let read = || -> Result<usize> {
        let mut reader = open(source, format, None, &options)?;
        let dataset = DatasetName::new("any").unwrap();
        let conformer = spec_from_schema(&dataset, &reader.schema(), &Default::default())
            .and_then(|spec| Conformer::new(&spec, &reader.schema(), &name));
        let mut rows = 0;
        while let Some(chunk) = reader.next_chunk()? {
            rows += chunk.batch.num_rows() + chunk.rejected.len();
            if let Ok(conformer) = &conformer {
                let out = conformer.conform(&chunk)?;
                let rows = chunk.batch.num_rows() + chunk.rejected.len();
                assert_eq!(out.accepted.num_rows() + out.rejected.len(), rows, "{name}");
            }
        }
        Ok(rows)
    };
    match read() {
        Ok(rows) => Outcome::Rows(rows),
        Err(Error::Internal(bug)) => panic!("{}: a bug: {bug}", path.display()),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(&name), "{}: {message}", path.display());
            Outcome::Refused(message)
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            path.is_file() && !name.ends_with(".md") && !name.starts_with('.')
        })
        .collect();
    files.sort();
    files
}

/// Outcomes of a folder: how many files gave rows, how many were refused.
fn tally(folder: &Path, format: Format) -> (usize, usize) {
    let outcomes: Vec<_> = files(folder).iter().map(|file| outcome(file, format)).collect();
    let rows = outcomes.iter().filter(|o| matches!(o, Outcome::Rows(_))).count();
    (rows, outcomes.len() - rows)
}

#[test]
fn corrupted_files_are_refused_or_read_and_never_end_the_process() {
    let Some(folder) = shared_data("corrupted_files_are_refused_or_read") else { return };
    let arrow = folder.join("arrow_testing/data");
    assert_eq!(tally(&folder.join("parquet_testing/bad_data"), Format::Parquet), (1, 7));
    // 133 files, one of which is the collection's README.
    let parquet = tally(&arrow.join("parquet/fuzzing"), Format::Parquet);
    assert_eq!(parquet.0 + parquet.1, 132);
    tally(&arrow.join("parquet/encoding-fuzzing"), Format::Parquet);
    let file = tally(&arrow.join("arrow-ipc-file"), Format::ArrowFile);
    assert_eq!(file.0 + file.1, 55);
    let stream = tally(&arrow.join("arrow-ipc-stream"), Format::ArrowStream);
    assert_eq!(stream.0 + stream.1, 80);
    tally(&arrow.join("csv/fuzzing"), Format::Csv);
    // Every one of them as every other format, too.
    for folder in ["parquet/fuzzing", "arrow-ipc-file", "arrow-ipc-stream", "csv/fuzzing"] {
        for format in Format::ALL {
            tally(&arrow.join(folder), format);
        }
    }
}

#[test]
fn a_small_file_that_unpacks_to_gigabytes_is_refused() {
    let Some(folder) = shared_data("a_small_file_that_unpacks_to_gigabytes") else { return };
    let path = folder.join("parquet_testing/data/large_string_map.brotli.parquet");
    match outcome(&path, Format::Parquet) {
        Outcome::Refused(message) => {
            assert!(message.contains("unpacked to 1073741828 bytes"), "{message}");
            assert!(message.contains("over the limit of 67108864 bytes"), "{message}");
        }
        rows => panic!("{rows:?}"),
    }
}

#[test]
fn parquet_files_have_their_rows() {
    let Some(folder) = shared_data("parquet_files_have_their_rows") else { return };
    let folder = folder.join("parquet_testing/data");
    let rows: BTreeMap<&str, usize> = PARQUET_ROWS.into();
    for file in files(&folder).into_iter().chain(files(&folder.join("geospatial"))) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.contains(".parquet") || name.ends_with(".json") {
            continue;
        }
        match (outcome(&file, Format::Parquet), rows.get(name)) {
            (Outcome::Rows(found), Some(expected)) => assert_eq!(found, *expected, "{name}"),
            (Outcome::Refused(message), None) => {
                let reason = REFUSED.iter().find(|(part, _)| name.contains(part));
                let (_, reason) = reason.unwrap_or_else(|| panic!("{message}"));
                assert!(message.contains(reason), "{message}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Creates a dataset from a file and loads the file into it. Returns the reasons of rejected rows, or
/// why the file cannot be read.
fn refused_of_its_own(path: &Path, format: Format) -> Result<Vec<String>> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let source = Source::File { path: path.to_owned(), name: name.clone() };
    let options = ReadOptions { decoded_budget_bytes: 64 * 1024 * 1024, ..ReadOptions::default() };
    let asked = GuessOptions { read: options.clone(), ..GuessOptions::default() };
    let spec = guess(&DatasetName::new("any").unwrap(), &source, format, &asked)?.spec;
    let mut reader = open(source, format, Some(&spec), &options)?;
    let conformer = Conformer::new(&spec, &reader.schema(), &name)?;
    let mut refused = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        refused.extend(conformer.conform(&chunk)?.rejected.into_iter().map(|row| row.reason));
    }
    Ok(refused)
}

#[test]
fn a_dataset_created_from_a_file_accepts_all_of_its_rows() {
    let Some(folder) = shared_data("a_dataset_created_from_a_file_accepts") else { return };
    let parquet = folder.join("parquet_testing/data");
    let mut count = 0;
    for file in files(&parquet).into_iter().chain(files(&parquet.join("geospatial"))) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name.contains(".parquet")
            && !name.ends_with(".json")
            && let Ok(refused) = refused_of_its_own(&file, Format::Parquet)
        {
            assert!(refused.is_empty(), "{name}: {refused:?}");
            count += 1;
        }
    }
    assert!(count >= 60, "{count} Parquet files were read");
    let integration = folder.join("arrow_testing/data/arrow-ipc-stream/integration");
    let (mut count, mut unread) = (0, Vec::new());
    for version in std::fs::read_dir(integration).unwrap() {
        for file in files(&version.unwrap().path()) {
            let format = match file.extension().and_then(|of| of.to_str()) {
                Some("arrow_file") => Format::ArrowFile,
                Some("stream") => Format::ArrowStream,
                _ => continue,
            };
            match refused_of_its_own(&file, format) {
                // Times of day past 24 hours, which Arrow does not allow.
                Ok(refused) => assert!(
                    refused.iter().all(|reason| reason.contains("without a text (Time")),
                    "{}: {refused:?}",
                    file.display()
                ),
                Err(problem) => unread.push(problem.to_string()),
            }
            count += 1;
        }
    }
    assert_eq!(count, 138);
    // Files without columns, or with two columns of the same name.
    let is_known = |problem: &String| {
        problem.contains("columns; expected")
            || problem.contains("both")
            || problem.contains("twice")
    };
    assert!(unread.iter().all(is_known), "{unread:#?}");
}

/// Files that are not read, and why.
const REFUSED: [(&str, &str); 4] = [
    (".encrypted", "encrypted Parquet is not supported"),
    ("large_string_map", "over the limit"),
    // The parquet crate takes the list's type in this old writer's metadata for another one.
    ("dict-page-offset-zero", "field 15 is of another type"),
    // A page that its column chunk is too short for; the parquet crate refuses it as well.
    ("nation.dict-malformed", "28 bytes where 13 are left"),
];

/// Rows of the readable files, as the collection's own readers count them.
const PARQUET_ROWS: [(&str, usize); 67] = [
    ("alltypes_dictionary.parquet", 2),
    ("alltypes_plain.parquet", 8),
    ("alltypes_plain.snappy.parquet", 2),
    ("binary.parquet", 12),
    ("binary_truncated_min_max.parquet", 12),
    ("byte_array_decimal.parquet", 24),
    ("byte_stream_split.zstd.parquet", 300),
    ("byte_stream_split_extended.gzip.parquet", 200),
    ("column_chunk_key_value_metadata.parquet", 0),
    ("concatenated_gzip_members.parquet", 513),
    ("crs-arbitrary-value.parquet", 1),
    ("crs-default.parquet", 1),
    ("crs-geography.parquet", 1),
    ("crs-projjson.parquet", 1),
    ("crs-srid.parquet", 1),
    ("data_index_bloom_encoding_stats.parquet", 14),
    ("data_index_bloom_encoding_with_length.parquet", 14),
    ("datapage_v1-corrupt-checksum.parquet", 5_120),
    ("datapage_v1-snappy-compressed-checksum.parquet", 5_120),
    ("datapage_v1-uncompressed-checksum.parquet", 5_120),
    ("datapage_v2.snappy.parquet", 5),
    ("datapage_v2_empty_datapage.snappy.parquet", 1),
    ("delta_binary_packed.parquet", 200),
    ("delta_byte_array.parquet", 1_000),
    ("delta_encoding_optional_column.parquet", 100),
    ("delta_encoding_required_column.parquet", 100),
    ("delta_length_byte_array.parquet", 1_000),
    ("fixed_length_byte_array.parquet", 1_000),
    ("fixed_length_decimal.parquet", 24),
    ("fixed_length_decimal_legacy.parquet", 24),
    ("float16_nonzeros_and_nans.parquet", 8),
    ("float16_zeros_and_nans.parquet", 3),
    ("floating_orders_nan_count.parquet", 50),
    ("geography-lines.parquet", 499),
    ("geography-points.parquet", 500),
    ("geography-polygons.parquet", 500),
    ("geospatial-with-nan.parquet", 3),
    ("geospatial.parquet", 196),
    ("hadoop_lz4_compressed.parquet", 4),
    ("incorrect_map_schema.parquet", 1),
    ("int32_decimal.parquet", 24),
    ("int32_with_null_pages.parquet", 1_000),
    ("int64_decimal.parquet", 24),
    ("int96_from_spark.parquet", 6),
    ("list_columns.parquet", 3),
    ("lz4_raw_compressed.parquet", 4),
    ("map_no_value.parquet", 3),
    ("nan_in_stats.parquet", 2),
    ("nested_lists.snappy.parquet", 3),
    ("nested_maps.snappy.parquet", 6),
    ("nested_structs.rust.parquet", 1),
    ("non_hadoop_lz4_compressed.parquet", 4),
    ("nonnullable.impala.parquet", 1),
    ("null_list.parquet", 1),
    ("nullable.impala.parquet", 7),
    ("nulls.snappy.parquet", 8),
    ("old_list_structure.parquet", 1),
    ("page_v2_empty_compressed.parquet", 10),
    ("plain-dict-uncompressed-checksum.parquet", 1_000),
    ("repeated_no_annotation.parquet", 0),
    ("repeated_primitive_no_list.parquet", 4),
    ("rle-dict-snappy-checksum.parquet", 1_000),
    ("rle-dict-uncompressed-corrupt-checksum.parquet", 1_000),
    ("rle_boolean_encoding.parquet", 68),
    ("single_nan.parquet", 1),
    ("sort_columns.parquet", 6),
    ("unknown-logical-type.parquet", 3),
];

#[test]
fn well_formed_csv_is_read_packed_and_unpacked() {
    let Some(folder) = shared_data("well_formed_csv_is_read") else { return };
    let folder = folder.join("arrow_testing/data/csv");
    let [plain, packed] = ["aggregate_test_100.csv", "aggregate_test_100.csv.gz"]
        .map(|name| batches(&folder.join(name), Format::Csv));
    assert_eq!(plain, packed);
    assert_eq!(plain[0].num_rows(), 100);
    let types: Vec<_> =
        plain[0].schema().fields().iter().map(|f| f.data_type().to_string()).collect();
    // The tenth column holds unsigned 64-bit integers.
    assert_eq!(types[9], "Decimal128(38, 0)");
    assert_eq!(types[11], "Float64");
}

#[test]
fn delta_encoded_files_hold_what_their_csv_says() {
    let Some(folder) = shared_data("delta_encoded_files_hold_what_their_csv_says") else { return };
    let folder = folder.join("parquet_testing/data");
    for name in [
        "delta_binary_packed",
        "delta_byte_array",
        "delta_encoding_optional_column",
        "delta_encoding_required_column",
    ] {
        let mut expected =
            ::csv::Reader::from_path(folder.join(format!("{name}_expect.csv"))).unwrap();
        let path = folder.join(format!("{name}.parquet"));
        let batches = batches(&path, Format::Parquet);
        let mut rows = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
        for record in expected.records() {
            let (batch, row) = rows.next().unwrap();
            for (column, field) in batch.columns().iter().zip(record.unwrap().iter()) {
                assert_eq!(array_value_to_string(column, row).unwrap(), field, "{name} {row}");
            }
        }
        assert!(rows.next().is_none());
    }
}

/// All batches of a file.
pub(super) fn batches(path: &Path, format: Format) -> Vec<RecordBatch> {
    let source = Source::File { path: path.to_owned(), name: path.display().to_string() };
    let mut reader = open(source, format, None, &ReadOptions::default()).unwrap();
    let mut batches = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        assert!(chunk.batch.columns().iter().all(|c| c.len() == chunk.batch.num_rows()));
        batches.push(chunk.batch);
    }
    batches
}
