//! Banking77 (Casanueva et al., 2020): `text,category` of requests to a bank, in English.

use super::mapped::{self, MappedCsv};
use super::{ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::error::Result;
use crate::parse::Slot;

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    let columns = mapped::columns_of("tickets", &["id", "body", "language", "label"])?;
    let name = source.name().to_owned();
    MappedCsv::open(source, None, &columns, options, |header| {
        let [text, category] = mapped::find_columns(&name, header, ["text", "category"])?;
        let name = name.clone();
        Ok(Box::new(move |place, fields| {
            Ok(vec![
                Slot::Text(format!("{name}:{}", place.row).into()),
                mapped::value("body", &ColumnType::Text, fields[text])?,
                Slot::Text("en".into()),
                mapped::optional_text(fields[category]),
            ])
        }))
    })
}
