//! Workbooks written by another crate, and damaged ones.
#![allow(clippy::unwrap_used)]

use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format as CellFormat, Formula, Workbook};

use super::*;
use crate::conform::Conformer;
use crate::infer::{Guess, GuessOptions, guess};

/// A table at B3 with one cell of each kind, and a second sheet.
fn workbook() -> Vec<u8> {
    let mut workbook = Workbook::new();
    let day = CellFormat::new().set_num_format("yyyy-mm-dd");
    let instant = CellFormat::new().set_num_format("yyyy-mm-dd hh:mm:ss.000");
    let time = CellFormat::new().set_num_format("hh:mm:ss");
    let sheet = workbook.add_worksheet().set_name("Sales").unwrap();
    let header = ["Order Id", "zip", "price", "paid", "day", "at", "clock", "note", "n"];
    for (column, name) in (1..).zip(header) {
        sheet.write_string(2, column, name).unwrap();
    }
    for (row, number) in [(3, 1.0), (4, 2.0), (6, 3.0)] {
        sheet.write_number(row, 1, number).unwrap();
        sheet.write_string(row, 2, "007").unwrap();
        sheet.write_number(row, 3, number * 0.25).unwrap();
        sheet.write_boolean(row, 4, number > 1.0).unwrap();
        let date = ExcelDateTime::parse_from_str("2026-02-28").unwrap();
        sheet.write_datetime_with_format(row, 5, &date, &day).unwrap();
        let at = ExcelDateTime::parse_from_str("1999-12-31T23:59:59.999").unwrap();
        sheet.write_datetime_with_format(row, 6, &at, &instant).unwrap();
        let clock = ExcelDateTime::parse_from_str("09:30:15").unwrap();
        sheet.write_datetime_with_format(row, 7, &clock, &time).unwrap();
        sheet.write_number(row, 9, number * 1e15).unwrap();
    }
    sheet.write_string(4, 8, "a & b\nc").unwrap();
    let other = workbook.add_worksheet().set_name("Notes").unwrap();
    other.write_string(0, 0, "text").unwrap();
    other.write_string(1, 0, "hello").unwrap();
    workbook.save_to_buffer().unwrap()
}

fn body(bytes: Vec<u8>) -> Source {
    Source::Body { bytes: Bytes::from(bytes), name: "f.xlsx".into() }
}

fn made(bytes: Vec<u8>, options: &GuessOptions) -> Result<(Guess, Vec<String>, Vec<String>)> {
    let source = body(bytes);
    let found = guess(&"a".parse().unwrap(), &source, Format::Xlsx, options)?;
    let mut reader = open(source, Format::Xlsx, Some(&found.spec), &options.read)?;
    let conformer = Conformer::new(&found.spec, &reader.schema(), "f.xlsx")?;
    let (mut rows, mut reasons) = (Vec::new(), Vec::new());
    while let Some(chunk) = reader.next_chunk()? {
        let conformed = conformer.conform(&chunk)?;
        for row in 0..conformed.accepted.num_rows() {
            let shown = conformed.accepted.columns().iter();
            let shown = shown.map(|column| array_value_to_string(column, row).unwrap());
            rows.push(shown.collect::<Vec<_>>().join("|"));
        }
        reasons.extend(
            conformed.rejected.into_iter().map(|row| format!("{}: {}", row.position, row.reason)),
        );
    }
    Ok((found, rows, reasons))
}

#[test]
fn a_cell_keeps_its_type_from_the_sheet() {
    let (found, rows, reasons) = made(workbook(), &GuessOptions::default()).unwrap();
    let columns = found.spec.columns.iter().map(|c| format!("{} {}", c.name, c.data_type));
    assert_eq!(
        columns.collect::<Vec<_>>(),
        [
            "order_id int64",
            "zip text",
            "price float64",
            "paid bool",
            "day date",
            "at timestamp",
            "clock text",
            "note text",
            "n int64",
        ]
    );
    let at = "2026-02-28|1999-12-31T23:59:59.999Z|09:30:15";
    let expected = [
        format!("1|007|0.25|false|{at}||1000000000000000"),
        format!("2|007|0.5|true|{at}|a & b\nc|2000000000000000"),
        format!("3|007|0.75|true|{at}||3000000000000000"),
    ];
    assert_eq!(rows, expected);
    assert!(reasons.is_empty(), "{reasons:?}");
    let notes: Vec<_> = found.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.contains(&"another sheet, \"Notes\", is not read"), "{notes:?}");
}

#[test]
fn a_sheet_is_selected_and_its_columns_are_renamed() {
    let with = |sheet: &str, columns: &[(&str, &str)]| {
        let columns = columns.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let renames = Renames { columns, ..Renames::default() };
        let read = ReadOptions { sheet: Some(sheet.to_owned()), renames, ..ReadOptions::default() };
        made(workbook(), &GuessOptions { read, ..GuessOptions::default() })
    };
    let (found, rows, _) = with("Notes", &[("text", "words")]).unwrap();
    assert_eq!(
        (found.spec.columns[0].name.as_str(), rows.as_slice()),
        ("words", &["hello".to_owned()][..])
    );
    let problem = with("Sold", &[]).err().unwrap().to_string();
    assert_eq!(problem, "f.xlsx: there is no sheet \"Sold\"; there are \"Sales\", \"Notes\"");
}

#[test]
fn a_cell_that_does_not_fit_rejects_its_row() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_string(0, 0, "id").unwrap();
    sheet.write_string(0, 1, "ms").unwrap();
    for row in 1..=10_u32 {
        sheet.write_number(row, 0, f64::from(row)).unwrap();
        sheet.write_number(row, 1, 12.0).unwrap();
    }
    sheet.write_string(3, 1, "slow").unwrap();
    sheet.write_formula(5, 1, Formula::new("=1/0").set_result("#DIV/0!")).unwrap();
    sheet.write_number(7, 4, 1.0).unwrap();
    let bytes = workbook.save_to_buffer().unwrap();
    let options = GuessOptions { mostly: 0.8, ..GuessOptions::default() };
    let (found, rows, reasons) = made(bytes.clone(), &options).unwrap();
    assert_eq!(found.spec.columns[1].data_type, crate::ColumnType::Int64);
    assert_eq!(rows.len(), 7, "{reasons:?}");
    assert_eq!(reasons[0], "f.xlsx:4 (row 3): \"ms\": expected int64, found \"slow\"");
    assert!(
        reasons[1].starts_with("f.xlsx:6 (row 5): \"ms\": expected int64, found"),
        "{reasons:?}"
    );
    let outside = "expected values in columns A to B, which row 1 names, found one in E8";
    assert_eq!(reasons[2], format!("f.xlsx:8 (row 7): {outside}"));
    let (found, _, _) = made(bytes, &GuessOptions::default()).unwrap();
    assert_eq!(found.spec.columns[1].data_type, crate::ColumnType::Text);
    let says = "ms is text: 1 of 8 values is not int64, the first in row 3 on line 4: \"slow\"";
    assert!(found.notes.iter().any(|note| note.text == says), "{:?}", found.notes);
}

#[test]
fn a_value_outside_the_table_sets_its_row_aside() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_string(1, 1, "id").unwrap();
    sheet.write_string(1, 2, "text").unwrap();
    for row in 2..=5_u32 {
        sheet.write_number(row, 1, f64::from(row)).unwrap();
    }
    sheet.write_string(4, 0, "checked by Ann").unwrap();
    sheet.write_string(5, 16_383, "far").unwrap();
    sheet.write_string(499, 0, "note").unwrap();
    let (found, rows, reasons) =
        made(workbook.save_to_buffer().unwrap(), &GuessOptions::default()).unwrap();
    assert_eq!(found.spec.columns[0].data_type, crate::ColumnType::Int64);
    assert_eq!(rows, ["2|", "3|"]);
    let outside = "expected values in columns B to C, which row 2 names, found one in";
    assert_eq!(
        reasons,
        [
            format!("f.xlsx:5 (row 3): {outside} A5"),
            format!("f.xlsx:6 (row 4): {outside} XFD6"),
            format!("f.xlsx:500 (row 5): {outside} A500"),
        ]
    );
}

#[test]
fn times_of_a_sheet_are_local_times_of_the_zone() {
    let mut workbook = Workbook::new();
    let instant = CellFormat::new().set_num_format("yyyy-mm-dd hh:mm:ss");
    let sheet = workbook.add_worksheet();
    sheet.write_string(0, 0, "at").unwrap();
    let times = ["2025-07-01T12:00:00", "2025-03-30T02:30:00", "2025-10-26T02:30:00"];
    for (row, at) in (1..).zip(times) {
        let at = ExcelDateTime::parse_from_str(at).unwrap();
        sheet.write_datetime_with_format(row, 0, &at, &instant).unwrap();
    }
    let csv = CsvOptions { zone: Some(chrono_tz::Tz::Europe__Berlin), ..CsvOptions::default() };
    let read = ReadOptions { csv, ..ReadOptions::default() };
    let options = GuessOptions { read, ..GuessOptions::default() };
    let (_, rows, reasons) = made(workbook.save_to_buffer().unwrap(), &options).unwrap();
    assert_eq!(rows, ["2025-07-01T10:00:00Z"]);
    assert!(reasons[0].starts_with("f.xlsx:3 (row 2): \"at\": the local time"), "{reasons:?}");
    assert!(reasons[0].contains("does not exist in Europe/Berlin"), "{reasons:?}");
    assert!(reasons[1].contains("exists twice in Europe/Berlin"), "{reasons:?}");
    // An exported workbook states that its instants are in UTC.
    let properties = DocProperties::new().set_custom_property(WORKBOOK_ZONE, "UTC");
    workbook.set_properties(&properties);
    let (_, rows, _) = made(workbook.save_to_buffer().unwrap(), &options).unwrap();
    assert_eq!(rows, ["2025-07-01T12:00:00Z", "2025-03-30T02:30:00Z", "2025-10-26T02:30:00Z"]);
}

#[test]
fn a_cell_that_cannot_be_read_sets_its_row_aside() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, name) in (0..).zip(["id", "sum", "note", "more"]) {
        sheet.write_string(0, column, name).unwrap();
    }
    // Errors of Excel 365 that the crate does not know: inside a row, at its end and at its beginning.
    let faults = [(2, 1), (4, 3), (6, 0)];
    for row in 1..=7_u32 {
        for column in 0..4_u16 {
            let is_fault = faults.contains(&(row, column));
            let result = if is_fault { "#BUSY!" } else { "1" };
            sheet.write_formula(row, column, Formula::new("=A1").set_result(result)).unwrap();
        }
    }
    let bytes = with_error_cells(&workbook.save_to_buffer().unwrap(), "#BUSY!");
    let (_, rows, reasons) = made(bytes, &GuessOptions::default()).unwrap();
    assert_eq!(rows, ["1|1|1|1"; 4]);
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for (reason, place) in reasons.iter().zip(["3 (row 2)", "5 (row 4)", "7 (row 6)"]) {
        assert!(reason.starts_with(&format!("f.xlsx:{place}: a cell of this row")), "{reason}");
        assert!(reason.ends_with("Unsupported cell error value '#BUSY!'"), "{reason}");
    }
}

/// The workbook, where each cell with the text `error` is an error cell.
fn with_error_cells(bytes: &[u8], error: &str) -> Vec<u8> {
    with_sheets(bytes, |mut xml| {
        for (at, _) in xml.clone().match_indices(error) {
            let kind = xml[..at].rfind("t=\"str\"").unwrap();
            // The replacement has the same length, so all offsets stay valid.
            xml.replace_range(kind..kind + 7, "t=\"e\"  ");
        }
        xml
    })
}

/// The workbook, where `change` is applied to the XML of each sheet.
fn with_sheets(bytes: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut part, &mut text).unwrap();
        if name.contains("worksheets/") {
            text = change(String::from_utf8(text).unwrap()).into_bytes();
        }
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, &text).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_row_with_an_uncomputed_formula_is_quarantined() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_string(0, 0, "id").unwrap();
    sheet.write_string(0, 1, "double").unwrap();
    for (row, result) in (1..).zip(["2", "777", "6", "777"]) {
        sheet.write_number(row, 0, f64::from(row)).unwrap();
        let formula = Formula::new("=A1*2").set_result(result);
        sheet.write_formula(row, 1, formula).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let bytes = with_sheets(&bytes, |xml| {
        xml.replacen("<v>777</v>", "<v></v>", 1).replacen("<v>777</v>", "<v/>", 1)
    });
    let (_, rows, reasons) = made(bytes, &GuessOptions::default()).unwrap();
    assert_eq!(rows, ["1|2", "3|6"]);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let expected =
        "f.xlsx:3 (row 2): \"double\": expected int64, found an uncomputed formula; open";
    assert!(reasons[0].starts_with(expected), "{reasons:?}");
}

#[test]
fn a_row_that_is_too_long_sets_itself_aside() {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for column in 0..40_u16 {
        sheet.write_string(0, column, format!("c{column}")).unwrap();
        sheet.write_string(1, column, "x").unwrap();
        sheet.write_string(2, column, "y".repeat(1_000)).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let read = ReadOptions { row_max_bytes: 20_000, ..ReadOptions::default() };
    let (_, rows, reasons) =
        made(bytes, &GuessOptions { read, ..GuessOptions::default() }).unwrap();
    assert_eq!(rows.len(), 1);
    let expected = "f.xlsx:3 (row 2): expected a row of at most 20000 bytes, found more";
    assert_eq!(reasons, [expected]);
}

#[test]
fn a_broken_workbook_is_refused_or_read() {
    let whole = workbook();
    let options = GuessOptions::default();
    for cut in [4, 100, whole.len() / 2, whole.len() - 1] {
        assert!(made(whole[..cut].to_vec(), &options).is_err(), "{cut}");
    }
    let mut state = 0x5EED_u64;
    for _ in 0..300 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut changed = whole.clone();
        let at = (state % whole.len() as u64) as usize;
        changed[at] ^= (state >> 32) as u8 | 1;
        if let Err(error) = made(changed, &options) {
            assert!(!matches!(error, crate::Error::Internal(_)), "{error}");
        }
    }
    let small = ReadOptions { row_max_bytes: 64, ..ReadOptions::default() };
    let limited = made(whole.clone(), &GuessOptions { read: small, ..GuessOptions::default() });
    assert!(limited.err().unwrap().to_string().contains("over the limit of 64 bytes"));
    let small = ReadOptions { decoded_budget_bytes: 1_000, ..ReadOptions::default() };
    let limited = made(whole, &GuessOptions { read: small, ..GuessOptions::default() });
    assert!(limited.err().unwrap().to_string().contains("over the limit of 1000 bytes"));
}

#[test]
fn an_empty_sheet_is_refused_with_the_names_of_the_others() {
    let mut workbook = Workbook::new();
    workbook.add_worksheet().set_name("Leer").unwrap();
    let bytes = workbook.save_to_buffer().unwrap();
    let problem = made(bytes, &GuessOptions::default()).err().unwrap().to_string();
    assert_eq!(problem, "f.xlsx: sheet \"Leer\" is empty");
    for name in ["Daten", "Mehr"] {
        let sheet = workbook.add_worksheet().set_name(name).unwrap();
        sheet.write_string(0, 0, name).unwrap();
    }
    let bytes = workbook.save_to_buffer().unwrap();
    let problem = made(bytes, &GuessOptions::default()).err().unwrap().to_string();
    let expected =
        "f.xlsx: sheet \"Leer\" is empty; name another with --sheet: \"Daten\", \"Mehr\"";
    assert_eq!(problem, expected);
}

#[test]
fn a_sheet_other_than_the_default_one_is_named() {
    let named = |sheet: Option<&str>| {
        let options = ReadOptions { sheet: sheet.map(str::to_owned), ..ReadOptions::default() };
        other_sheet(&body(workbook()), &options)
    };
    assert_eq!(named(None).unwrap(), None);
    assert_eq!(named(Some("Sales")).unwrap(), None);
    assert_eq!(named(Some("Notes")).unwrap(), Some("Notes".to_owned()));
    assert!(named(Some("Sold")).is_err());
}
