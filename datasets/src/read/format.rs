//! The formats that can be read, their names, and how a file says which one it is.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The first bytes of a ZIP archive; workbooks are ZIP archives.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Whether a ZIP archive is a workbook, judged by its name or by the names of its first parts.
fn is_workbook(head: &[u8], extension: &str) -> bool {
    let has = |part: &[u8]| head.windows(part.len()).take(4_096).any(|window| window == part);
    matches!(extension, "xlsx" | "xlsm") || has(b"[Content_Types].xml") || has(b"xl/workbook.xml")
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Separated values, the dialect sniffed.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// Arrow IPC, the file (random access) form.
    ArrowFile,
    /// Arrow IPC, the stream form.
    ArrowStream,
    /// A worksheet of Excel (Office Open XML).
    Xlsx,
    /// Azure LLM inference traces, as `model_calls`.
    AzureLlm,
    /// Mooncake request traces, as `model_calls`.
    Mooncake,
    /// LiteLLM's table of model prices, as `llm_prices`.
    LitellmPrices,
    /// Numenta Anomaly Benchmark series, as `metrics`.
    Nab,
    /// Banking77 requests, as `tickets`.
    Banking77,
    /// CLINC150 requests, as `tickets`.
    Clinc,
    /// FEBRL person records, as `people`.
    Febrl,
    /// ER-Magellan record pairs, as `record_pairs`.
    ErMagellan,
    /// XES event logs, as `workflow_steps`.
    Xes,
    /// Event logs in CSV or Parquet with XES column names, as `workflow_steps`.
    EventLog,
}

impl Format {
    /// Every format, in the order in which they are listed to people.
    pub const ALL: [Self; 16] = [
        Self::Parquet,
        Self::Csv,
        Self::Ndjson,
        Self::ArrowFile,
        Self::ArrowStream,
        Self::Xlsx,
        Self::AzureLlm,
        Self::Mooncake,
        Self::LitellmPrices,
        Self::Nab,
        Self::Banking77,
        Self::Clinc,
        Self::Febrl,
        Self::ErMagellan,
        Self::Xes,
        Self::EventLog,
    ];

    /// The format's name: `parquet`, `azure-llm`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::ArrowFile => "arrow-file",
            Self::ArrowStream => "arrow-stream",
            Self::Xlsx => "xlsx",
            Self::AzureLlm => "azure-llm",
            Self::Mooncake => "mooncake",
            Self::LitellmPrices => "litellm-prices",
            Self::Nab => "nab",
            Self::Banking77 => "banking77",
            Self::Clinc => "clinc",
            Self::Febrl => "febrl",
            Self::ErMagellan => "er-magellan",
            Self::Xes => "xes",
            Self::EventLog => "event-log",
        }
    }

    /// The dataset whose spec the format's rows have, for the named public formats.
    pub const fn dataset(self) -> Option<&'static str> {
        match self {
            Self::Parquet
            | Self::Csv
            | Self::Ndjson
            | Self::ArrowFile
            | Self::ArrowStream
            | Self::Xlsx => None,
            Self::AzureLlm | Self::Mooncake => Some("model_calls"),
            Self::LitellmPrices => Some("llm_prices"),
            Self::Nab => Some("metrics"),
            Self::Banking77 | Self::Clinc => Some("tickets"),
            Self::Febrl => Some("people"),
            Self::ErMagellan => Some("record_pairs"),
            Self::Xes | Self::EventLog => Some("workflow_steps"),
        }
    }

    /// The format of an upload by its `Content-Type`; parameters after `;` are ignored.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence =
            content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json" => Self::Ndjson,
            "text/csv" | "text/tab-separated-values" => Self::Csv,
            "application/vnd.apache.arrow.stream" => Self::ArrowStream,
            "application/vnd.apache.arrow.file" => Self::ArrowFile,
            "application/vnd.apache.parquet" => Self::Parquet,
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Self::Xlsx,
            _ => return None,
        })
    }

    /// The format by what the file begins with (`head`, unpacked) and by its name; the named public
    /// formats that no mark tells apart from plain CSV or JSON must be asked for.
    pub fn detect(path: &Path, head: &[u8]) -> Result<Self> {
        let file_name =
            path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let stem = file_name.strip_suffix(".gz").unwrap_or(&file_name);
        let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension);
        let magic = if head.starts_with(b"PAR1") || head.starts_with(b"PARE") {
            Some(Self::Parquet)
        } else if head.starts_with(b"ARROW1") {
            Some(Self::ArrowFile)
        } else if head.starts_with(&[0xFF; 4]) {
            Some(Self::ArrowStream)
        } else if head.starts_with(ZIP_MAGIC) && is_workbook(head, extension) {
            Some(Self::Xlsx)
        } else {
            None
        };
        if let Some(format) = magic {
            return Ok(format);
        }
        let named = match extension {
            "parquet" | "parq" | "pq" => Some(Self::Parquet),
            "arrow" | "arrow_file" | "feather" | "ipc" => Some(Self::ArrowFile),
            "arrows" | "stream" => Some(Self::ArrowStream),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" | "tsv" | "tab" | "psv" => Some(Self::Csv),
            "xes" => Some(Self::Xes),
            "xlsx" | "xlsm" => Some(Self::Xlsx),
            "xls" | "xlsb" | "ods" => {
                return Err(Error::Unreadable {
                    source_name: file_name.clone(),
                    format: Self::Xlsx.name(),
                    problem: format!("files in {extension} are not read; save it as .xlsx"),
                });
            }
            _ => None,
        };
        let text = head.trim_ascii_start();
        let sniffed = || match text.first() {
            Some(b'{' | b'[') => Some(Self::Ndjson),
            Some(b'<') if text.windows(4).take(4_096).any(|w| w == b"<log") => Some(Self::Xes),
            _ => None,
        };
        named.or_else(sniffed).ok_or_else(|| Error::Unreadable {
            source_name: file_name.clone(),
            format: "any known format",
            problem: format!(
                "neither its first bytes nor the extension {extension:?} name a format; name one of {}",
                Self::names()
            ),
        })
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Reads a format's name; `arrow` is either form of Arrow IPC, told apart when the file is opened.
    fn from_str(name: &str) -> Result<Self> {
        if name == "arrow" {
            return Ok(Self::ArrowFile);
        }
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| Error::Name {
            what: "format",
            name: name.chars().take(80).collect(),
            expected: format!("one of arrow, {}", Self::names()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
        }
        assert!(
            "excel".parse::<Format>().unwrap_err().to_string().contains("one of arrow, parquet")
        );
    }

    #[test]
    fn magic_wins_over_the_extension() {
        let detect = |name: &str, head: &[u8]| Format::detect(Path::new(name), head).ok();
        assert_eq!(detect("a.csv", b"PAR1...."), Some(Format::Parquet));
        assert_eq!(detect("a.bin", b"ARROW1\0\0"), Some(Format::ArrowFile));
        assert_eq!(detect("a", &[0xFF, 0xFF, 0xFF, 0xFF, 8, 0]), Some(Format::ArrowStream));
        assert_eq!(detect("a.jsonl.gz", b"{}"), Some(Format::Ndjson));
        assert_eq!(
            detect("log", b"<?xml version='1.0'?>\n<log xes.version=\"1\">"),
            Some(Format::Xes)
        );
        assert_eq!(detect("a.tsv", b"a\tb"), Some(Format::Csv));
        assert_eq!(detect("a.dat", b"a,b"), None);
        assert_eq!(detect("a.csv", b"PK\x03\x04....[Content_Types].xml"), Some(Format::Xlsx));
        assert_eq!(detect("a.xlsx", b"PK\x03\x04"), Some(Format::Xlsx));
        assert_eq!(detect("a.zip", b"PK\x03\x04"), None);
        let old = Format::detect(Path::new("a.xls"), b"\xD0\xCF\x11\xE0").unwrap_err().to_string();
        assert_eq!(old, "a.xls: not readable as xlsx: files in xls are not read; save it as .xlsx");
    }
}
