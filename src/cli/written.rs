//! Arguments that describe how text files are written. They have the names of the dataset's
//! settings.

use ::datasets::LoadSettings;
use clap::Args;
use engine::Result;

/// How text files are written. The dataset stores the stated settings, and reads later files by
/// them.
#[derive(Debug, Args)]
#[command(next_help_heading = "How CSV files are written")]
pub struct Written {
    /// Encoding of the text, such as windows-1252 or utf-16le [default: detected]
    #[arg(long, value_name = "NAME", value_parser = |text: &str| setting("encoding", text))]
    pub encoding: Option<String>,
    /// The delimiter between fields: one character, or `tab` [default: detected]
    #[arg(long, value_name = "CHARACTER", value_parser = |text: &str| setting("delimiter", text))]
    pub delimiter: Option<String>,
    /// The quote character around fields [default: detected, " or ']
    #[arg(long, value_name = "CHARACTER", value_parser = |text: &str| setting("quote", text))]
    pub quote: Option<String>,
    /// Whether the first row names the columns [default: detected]
    #[arg(long, value_name = "true|false", value_parser = |text: &str| setting("header", text))]
    pub header: Option<String>,
    /// Same as --header false: columns are named column_1, column_2 and so on
    #[arg(long, conflicts_with = "header")]
    pub no_header: bool,
    /// The mark before the fraction of a number: comma or point [default: point]
    #[arg(long, value_name = "MARK", value_parser = |text: &str| setting("decimal_mark", text))]
    pub decimal_mark: Option<String>,
    /// Same as --decimal-mark comma: 1.234,56
    #[arg(long, conflicts_with = "decimal_mark")]
    pub decimal_comma: bool,
    /// The mark between thousands: comma, point, apostrophe, space or underscore [default: none; with a decimal comma, any but
    /// the comma]
    #[arg(long, value_name = "MARK", value_parser = |text: &str| setting("thousands_mark", text))]
    pub thousands_mark: Option<String>,
    /// A text that means null, such as "n/a"
    #[arg(long = "null", value_name = "TEXT")]
    pub nulls: Vec<String>,
    /// The order of dates that do not begin with their year: dmy (31.12.2026) or mdy (12/31/2026)
    #[arg(long, value_name = "ORDER", value_parser = |text: &str| setting("date_order", text))]
    pub date_order: Option<String>,
    /// The IANA time zone of timestamps without an offset, also in NDJSON, Excel, Parquet and Arrow files [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = |text: &str| setting("zone", text))]
    pub zone: Option<String>,
}

impl Written {
    /// The stated settings.
    pub fn settings(&self) -> Result<LoadSettings> {
        let mut settings = LoadSettings::default();
        let of_flag = |is_set: bool, value: &str| is_set.then(|| value.to_owned());
        let header = self.header.clone().or_else(|| of_flag(self.no_header, "false"));
        let decimal = self.decimal_mark.clone().or_else(|| of_flag(self.decimal_comma, "comma"));
        let stated = [
            ("encoding", self.encoding.clone()),
            ("delimiter", self.delimiter.clone()),
            ("quote", self.quote.clone()),
            ("header", header),
            ("decimal_mark", decimal),
            ("thousands_mark", self.thousands_mark.clone()),
            ("date_order", self.date_order.clone()),
            ("zone", self.zone.clone()),
        ];
        for (name, value) in stated {
            if let Some(value) = value {
                settings.set(name, &value)?;
            }
        }
        for null in &self.nulls {
            settings.set("null", null)?;
        }
        settings.check()?;
        Ok(settings)
    }
}

/// Checks the value of a setting while the command line is parsed.
fn setting(name: &str, text: &str) -> std::result::Result<String, String> {
    let mut settings = LoadSettings::default();
    settings.set(name, text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}
