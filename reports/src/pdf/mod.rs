//! A report as pages of PDF, set by typst. Its source is fixed (`report.typ`), and what is shown comes to it as values, so that no text of
//! the data is ever markup. It has no files, no packages, no network and no clock.

mod layout;
mod letters;

use chrono::{Datelike, Timelike};
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Dict, Duration, IntoValue, Smart};
use typst::syntax::{FileId, Source};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, Timestamp};

use crate::error::{Error, Result};
use crate::fonts::Fonts;
use crate::report::Report;
use crate::template::Paper;

/// The report as a PDF.
pub fn pdf(report: &Report, paper: Paper, fonts: &Fonts) -> Result<Vec<u8>> {
    let mut report = report.clone();
    letters::replace(&mut report, fonts);
    let pages = layout::pages(&report, paper);
    let pages = serde_json::to_string(&pages).map_err(|error| Error::Pages(error.to_string()))?;
    let world = Closed::new(pages, fonts)?;
    let document = typst::compile::<PagedDocument>(&world).output;
    let pdf = document.and_then(|document| {
        let at = report.made_at;
        let part = |number: u32| u8::try_from(number).unwrap_or(0);
        let made = Datetime::from_ymd_hms(
            at.year(),
            part(at.month()),
            part(at.day()),
            part(at.hour()),
            part(at.minute()),
            part(at.second()),
        );
        let options = PdfOptions {
            creator: Smart::Custom(Some(report.made_by.clone())),
            timestamp: made.map(Timestamp::new_utc),
            ..PdfOptions::default()
        };
        typst_pdf::pdf(&document, &options)
    });
    // What was remembered of these pages is of no use for others.
    typst::comemo::evict(0);
    pdf.map_err(|errors| {
        let errors: Vec<&str> =
            errors.iter().map(|error: &SourceDiagnostic| error.message.as_str()).collect();
        Error::Pages(errors.join("; "))
    })
}

/// All that the setting of pages may reach.
struct Closed {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    source: Source,
}

impl Closed {
    fn new(pages: String, fonts: &Fonts) -> Result<Self> {
        let mut read = Vec::new();
        for (index, face) in fonts.faces().iter().enumerate() {
            let font = Font::new(Bytes::new(face.sfnt.clone()), 0);
            let name = || format!("number {index}");
            let problem = || "typst does not read it: expected TrueType or OpenType".to_owned();
            read.push(font.ok_or_else(|| Error::Font { name: name(), problem: problem() })?);
        }
        let mut families: Vec<String> = Vec::new();
        for font in &read {
            // As typst finds them again.
            let family = font.info().family.to_string();
            if !families.contains(&family) {
                families.push(family);
            }
        }
        let families =
            serde_json::to_string(&families).map_err(|error| Error::Pages(error.to_string()))?;
        let mut inputs = Dict::new();
        inputs.insert("pages".into(), pages.into_value());
        inputs.insert("families".into(), families.into_value());
        Ok(Self {
            library: LazyHash::new(Library::builder().with_inputs(inputs).build()),
            book: LazyHash::new(FontBook::from_fonts(&read)),
            fonts: read,
            source: Source::detached(include_str!("report.typ")),
        })
    }
}

impl World for Closed {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    fn main(&self) -> FileId {
        self.source.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.source.id() { Ok(self.source.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn file(&self, _: FileId) -> FileResult<Bytes> {
        Err(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.get(index).cloned()
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}
