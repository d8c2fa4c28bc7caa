//! What form of answer a client asks for with `Accept`.

use engine::{ExportOptions, Form, Formulas, Header, NestedAs, Result};

use crate::error::bad_input;

/// What is taken, for who takes none of it.
pub(super) const TAKEN: &str = "application/graphql-response+json, application/json, text/event-stream, or for rows alone \
     application/vnd.apache.arrow.stream, application/x-ndjson or text/csv";

/// A form of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: the status tells of refused requests, too.
    GraphqlResponse,
    /// `application/json`: 200 for every well-formed request that is answered, also with errors.
    Json,
    /// `text/event-stream`.
    EventStream,
    /// Rows alone.
    Rows(RowsMedia),
}

/// A form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsMedia {
    /// `application/vnd.apache.arrow.stream`.
    Arrow,
    /// `application/x-ndjson`.
    Ndjson,
    /// `text/csv`, with the parameters `header` (RFC 4180) and `formulas`.
    Csv(Header, Formulas),
}

impl Media {
    /// As a `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::EventStream => "text/event-stream",
            Self::Rows(RowsMedia::Arrow) => "application/vnd.apache.arrow.stream",
            Self::Rows(RowsMedia::Ndjson) => "application/x-ndjson",
            Self::Rows(RowsMedia::Csv(Header::Present, _)) => {
                "text/csv; charset=utf-8; header=present"
            }
            Self::Rows(RowsMedia::Csv(Header::Absent, _)) => {
                "text/csv; charset=utf-8; header=absent"
            }
        }
    }
}

impl RowsMedia {
    /// How its rows are written.
    pub(super) fn options(self) -> ExportOptions {
        match self {
            Self::Arrow => ExportOptions::of(Form::ArrowStream),
            Self::Ndjson => ExportOptions::of(Form::Ndjson),
            Self::Csv(header, formulas) => {
                let mut options = ExportOptions::of(Form::Csv);
                (options.csv.header, options.csv.formulas) = (header, formulas);
                options.csv.nested = NestedAs::Columns;
                options
            }
        }
    }
}

/// The form that `accept` likes best of ours, the first of equals; `None` when it takes none. Who says nothing gets what every client
/// understands, `application/json`. BAD_INPUT for a parameter of CSV that is none.
pub(super) fn negotiate(accept: Option<&str>) -> Result<Option<Media>> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(Some(Media::Json));
    };
    let mut best: Option<(f32, Media)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1.0;
        let (mut header, mut formulas) = (Header::default(), Formulas::default());
        let is_csv = name == "text/csv";
        for (parameter, value) in parts.filter_map(|part| part.split_once('=')) {
            let (parameter, value) = (parameter.trim().to_ascii_lowercase(), value.trim());
            match (parameter.as_str(), value) {
                ("q", value) => quality = value.parse::<f32>().unwrap_or(1.0),
                ("header", "present") if is_csv => header = Header::Present,
                ("header", "absent") if is_csv => header = Header::Absent,
                ("header", _) if is_csv => {
                    return Err(bad_input("Accept: text/csv; header: expected present or absent"));
                }
                ("formulas", "kept") if is_csv => formulas = Formulas::Kept,
                ("formulas", "escaped") if is_csv => formulas = Formulas::Escaped,
                ("formulas", _) if is_csv => {
                    return Err(bad_input("Accept: text/csv; formulas: expected kept or escaped"));
                }
                _ => {}
            }
        }
        let media = match name.as_str() {
            "application/graphql-response+json" => Media::GraphqlResponse,
            "application/json" | "application/*" | "*/*" => Media::Json,
            "text/event-stream" | "text/*" => Media::EventStream,
            "application/vnd.apache.arrow.stream" => Media::Rows(RowsMedia::Arrow),
            "application/x-ndjson" => Media::Rows(RowsMedia::Ndjson),
            "text/csv" => Media::Rows(RowsMedia::Csv(header, formulas)),
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, media));
        }
    }
    Ok(best.map(|(_, media)| media))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_best_liked_form_is_chosen() {
        let is = |accept: &str, media| {
            assert_eq!(negotiate(Some(accept)).unwrap(), media, "{accept}");
        };
        is("application/json", Some(Media::Json));
        is(
            "application/graphql-response+json, application/json;q=0.9",
            Some(Media::GraphqlResponse),
        );
        is("application/json;q=0.5, text/event-stream", Some(Media::EventStream));
        is("*/*", Some(Media::Json));
        is("text/html, application/json;q=0", None);
        is("image/png", None);
        assert_eq!(negotiate(None).unwrap(), Some(Media::Json));
        let csv = |header, formulas| Some(Media::Rows(RowsMedia::Csv(header, formulas)));
        let plain = csv(Header::Present, Formulas::Kept);
        is("text/csv", plain);
        is("Text/CSV; charset=utf-8 ; Header=present", plain);
        is("text/csv;header=absent;formulas=escaped", csv(Header::Absent, Formulas::Escaped));
        is("application/json;q=0.4, text/csv ; q=0.5", plain);
        is("text/csv;q=0.5, */*", Some(Media::Json));
        is("text/csv;q=0, application/x-ndjson;q=0.1", Some(Media::Rows(RowsMedia::Ndjson)));
        is("application/vnd.apache.arrow.stream, text/csv", Some(Media::Rows(RowsMedia::Arrow)));
        is("application/vnd.apache.arrow.file", None);
        for (accept, says) in [
            ("text/csv;header=no", "header: expected present or absent"),
            ("application/json, text/csv;formulas=off", "formulas: expected kept or escaped"),
        ] {
            let error = negotiate(Some(accept)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
