//! The named public formats over the real files, where the folder with them is at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};

use super::*;
use crate::conform::{Conformer, evolve};
use crate::specs;

/// The folder of shared data, or `None` (said aloud) where it is absent.
pub(super) fn shared_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required =
        std::env::var_os("COLONNADE_REQUIRE_SHARED_DATA").is_some_and(|value| value == "1");
    assert!(!is_required, "{test}: there is no folder {}", folder.display());
    eprintln!("{test}: skipped, there is no folder {}", folder.display());
    None
}

/// All accepted rows of a file; fails when a row is rejected.
fn accepted(folder: &std::path::Path, file: &str, format: Format) -> RecordBatch {
    let spec = specs::by_name(format.dataset().unwrap()).unwrap();
    let source = Source::File { path: folder.join(file), name: file.to_owned() };
    let mut reader = open(source, format, Some(&spec), &ReadOptions::default()).unwrap();
    let conformer = Conformer::new(&spec, &reader.schema(), file).unwrap();
    assert_eq!(evolve(&spec, &reader.schema(), file).unwrap(), None);
    let mut batches = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let out = conformer.conform(&chunk).unwrap();
        assert_eq!(out.rejected, [], "{file}");
        batches.push(out.accepted);
    }
    concat_batches(&spec.arrow_schema(), &batches).unwrap()
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    arrow::util::display::array_value_to_string(batch.column_by_name(column).unwrap(), row).unwrap()
}

#[test]
fn model_call_traces_are_whole() {
    let Some(folder) = shared_data("model_call_traces_are_whole") else { return };
    let code = accepted(&folder, "azure_llm/AzureLLMInferenceTrace_code.csv", Format::AzureLlm);
    assert_eq!(code.num_rows(), 8_819);
    assert_eq!(text(&code, "at", 0), "2023-11-16T18:17:03.979960Z");
    assert_eq!(text(&code, "at_month", 0), "2023-11-01");
    let ids = code.column_by_name("id").unwrap().as_string::<i32>();
    assert_eq!(ids.value(8_818), "azure_llm/AzureLLMInferenceTrace_code.csv:8819");
    let max = |batch: &RecordBatch, column: &str| {
        let values = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        arrow::compute::max(values).unwrap()
    };
    assert_eq!((max(&code, "input_tokens"), max(&code, "output_tokens")), (7_437, 1_899));
    let conv = accepted(&folder, "azure_llm/AzureLLMInferenceTrace_conv.csv", Format::AzureLlm);
    assert_eq!(conv.num_rows(), 19_366);
    assert_eq!((max(&conv, "input_tokens"), max(&conv, "output_tokens")), (14_050, 1_000));

    let file = "mooncake/conversation_trace.jsonl.gz";
    let conversation = accepted(&folder, file, Format::Mooncake);
    assert_eq!(conversation.num_rows(), 12_031);
    assert_eq!(text(&conversation, "at", 0), "2024-01-01T00:00:00Z");
    assert_eq!(text(&conversation, "prefix_blocks", 3), "[0, 42, 43, 44, 45]");
    let at = conversation.column_by_name("at").unwrap().as_primitive::<TimestampMicrosecondType>();
    let span_us = at.value(12_030) - at.value(0);
    assert!((3_500_000_000..3_700_000_000).contains(&span_us), "{span_us}");
    let synthetic = accepted(&folder, "mooncake/synthetic_trace.jsonl.gz", Format::Mooncake);
    assert_eq!(synthetic.num_rows(), 3_993);
}

#[test]
fn prices_are_exact() {
    let Some(folder) = shared_data("prices_are_exact") else { return };
    let file = "llm_prices/model_prices_and_context_window.json.gz";
    let prices = accepted(&folder, file, Format::LitellmPrices);
    assert_eq!(prices.num_rows(), 4_552);
    let input = prices.column_by_name("input_cost_per_token").unwrap();
    let input = input.as_primitive::<Decimal128Type>();
    assert_eq!(input.len() - input.null_count(), 3_706 - 1);
    let models = prices.column_by_name("model").unwrap().as_string::<i32>();
    let row = models.iter().position(|m| m == Some("gpt-4o")).unwrap();
    assert_eq!(text(&prices, "input_cost_per_token", row), "0.000002500000000000000000000");
    // 2.9999900000000002e-06, to its last digit.
    assert!(input.iter().flatten().any(|v| v == 2_999_990_000_000_000_200_000));
}

#[test]
fn nab_series_and_windows_are_whole() {
    let Some(folder) = shared_data("nab_series_and_windows_are_whole") else { return };
    let mut series = std::collections::BTreeSet::new();
    for (group, rows, files) in [("realKnownCause", 69_561, 7), ("realAWSCloudwatch", 67_740, 17)] {
        let mut found = 0;
        let mut count = 0;
        for entry in std::fs::read_dir(folder.join("nab/data").join(group)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let batch = accepted(&folder, &format!("nab/data/{group}/{name}"), Format::Nab);
            found += batch.num_rows();
            count += 1;
            series.insert(text(&batch, "series", 0));
        }
        assert_eq!((found, count), (rows, files), "{group}");
    }
    let json = std::fs::read_to_string(folder.join("nab/labels/combined_windows.json")).unwrap();
    let windows = nab_windows(&json).unwrap();
    assert_eq!(windows.values().map(Vec::len).sum::<usize>(), 49);
    assert!(windows["ec2_cpu_utilization_c6585a"].is_empty());
    assert_eq!(windows.keys().cloned().collect::<std::collections::BTreeSet<_>>(), series);
    let (start, end) = windows["ec2_cpu_utilization_24ae8d"][0];
    assert_eq!(start.to_rfc3339(), "2014-02-26T13:45:00+00:00");
    assert_eq!(end.to_rfc3339(), "2014-02-27T06:25:00+00:00");
}

#[test]
fn tickets_are_whole() {
    let Some(folder) = shared_data("tickets_are_whole") else { return };
    let bank = accepted(&folder, "banking77/train.csv", Format::Banking77);
    assert_eq!(bank.num_rows(), 10_003);
    let bodies = bank.column_by_name("body").unwrap().as_string::<i32>();
    assert!(bodies.iter().flatten().all(|b| !b.contains('\r')));
    assert_eq!(bodies.iter().flatten().filter(|b| b.contains('\n')).count(), 10);
    let labels: std::collections::HashSet<_> =
        bank.column_by_name("label").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(labels.len(), 77);

    let clinc = accepted(&folder, "clinc_small/data_small_train_val.json", Format::Clinc);
    assert_eq!(clinc.num_rows(), 7_500 + 3_000 + 100 + 100);
    let labels: std::collections::HashSet<_> =
        clinc.column_by_name("label").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(labels.len(), 151);
    assert_eq!(text(&clinc, "id", 0), "clinc_small/data_small_train_val.json:train:1");
}

#[test]
fn people_and_pairs_are_whole() {
    let Some(folder) = shared_data("people_and_pairs_are_whole") else { return };
    for (file, rows) in [("dataset1", 1_000), ("dataset2", 5_000), ("dataset3", 5_000)] {
        let people = accepted(&folder, &format!("febrl/{file}.csv"), Format::Febrl);
        assert_eq!(people.num_rows(), rows);
        let births = people.column_by_name("date_of_birth").unwrap().as_string::<i32>();
        assert!(births.iter().flatten().all(|b| !b.contains(' ')));
    }
    let people = accepted(&folder, "febrl/dataset1.csv", Format::Febrl);
    assert_eq!(text(&people, "given_name", 0), "");
    assert_eq!(text(&people, "soc_sec_id", 0), "6988048");
    let postcodes = people.column_by_name("postcode").unwrap().as_string::<i32>();
    assert!(postcodes.iter().flatten().any(|p| p.starts_with('0')));

    for (set, splits) in [
        ("Beer", [(268, 40), (91, 14), (91, 14)]),
        ("Fodors-Zagats", [(567, 66), (190, 22), (189, 22)]),
        ("DBLP-ACM", [(7_417, 1_332), (2_473, 444), (2_473, 444)]),
    ] {
        for (split, (rows, matches)) in ["train", "valid", "test"].into_iter().zip(splits) {
            let file = format!("er_magellan/{set}/{split}.txt");
            let pairs = accepted(&folder, &file, Format::ErMagellan);
            let same = pairs.column_by_name("same").unwrap().as_boolean().true_count();
            assert_eq!((pairs.num_rows(), same), (rows, matches), "{file}");
        }
    }
    let pairs = accepted(&folder, "er_magellan/Beer/train.txt", Format::ErMagellan);
    let left: serde_json::Value = serde_json::from_str(&text(&pairs, "left_record", 0)).unwrap();
    assert_eq!(left["Beer_Name"], "C N Red Imperial Red Ale");
    assert_eq!(left["ABV"], "8.10 %");
}

#[test]
fn event_logs_are_whole_and_the_same_in_every_form() {
    let Some(folder) = shared_data("event_logs_are_whole") else { return };
    let cases = |batch: &RecordBatch| {
        let column = batch.column_by_name("case_id").unwrap().as_string::<i32>();
        column.iter().flatten().collect::<std::collections::HashSet<_>>().len()
    };
    // What every row says, in one order.
    let steps = |batch: &RecordBatch, columns: &[&str]| {
        let mut rows: Vec<Vec<String>> = (0..batch.num_rows())
            .map(|row| columns.iter().map(|c| text(batch, c, row)).collect())
            .collect();
        rows.sort();
        rows
    };
    for (forms, case_count, events) in [
        (
            &[("running-example.xes", Format::Xes), ("running-example.csv", Format::EventLog)][..],
            6,
            42,
        ),
        (
            &[
                ("roadtraffic100traces.xes", Format::Xes),
                ("roadtraffic100traces.csv", Format::EventLog),
            ],
            100,
            390,
        ),
        (
            &[("receipt.csv.gz", Format::EventLog), ("receipt.parquet", Format::EventLog)],
            1_434,
            8_577,
        ),
        (
            &[
                ("interval_event_log.csv.gz", Format::EventLog),
                ("interval_event_log.xes.gz", Format::Xes),
            ],
            1_266,
            8_109,
        ),
        // 2,278 events end a step, and 1,452 begin one of them.
        (&[("reviewing.xes.gz", Format::Xes)], 100, 2_278),
    ] {
        let batches: Vec<_> = forms
            .iter()
            .map(|(file, format)| accepted(&folder, &format!("pm4py/{file}"), *format))
            .collect();
        for batch in &batches {
            assert_eq!((cases(batch), batch.num_rows()), (case_count, events), "{}", forms[0].0);
        }
        if let [one, other] = &batches[..] {
            // The Parquet file lost the offsets of its times: it holds the clock of the place.
            let columns: &[&str] = match forms[0].0 {
                "receipt.csv.gz" => &["case_id", "activity", "resource"],
                _ => &["case_id", "activity", "started_at", "ended_at"],
            };
            let (one, other) = (steps(one, columns), steps(other, columns));
            let differs = one.iter().zip(&other).find(|(a, b)| a != b);
            assert_eq!(differs, None, "{}", forms[0].0);
        }
    }
    let log = accepted(&folder, "pm4py/running-example.xes", Format::Xes);
    assert_eq!(text(&log, "started_at", 0), "2010-12-30T13:32:00Z");
    assert_eq!(text(&log, "resource", 0), "Pete");
    let attributes: serde_json::Value = serde_json::from_str(&text(&log, "attributes", 0)).unwrap();
    assert_eq!(attributes["Costs"], "50");
    assert_eq!(attributes["case:creator"], "Fluxicon Nitro");
    let interval = accepted(&folder, "pm4py/interval_event_log.xes.gz", Format::Xes);
    assert_ne!(text(&interval, "started_at", 0), text(&interval, "ended_at", 0));
}
