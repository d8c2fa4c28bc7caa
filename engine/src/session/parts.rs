//! A dataset in parts, each of some of its files, so that work on all of it can go on where it ended.

use std::path::Path as FilePath;

use datafusion::dataframe::DataFrame;
use datasets::{DatasetName, DatasetSpec};

use super::Session;
use super::batches::frame_of;
use super::reading::Reading;
use crate::error::Result;
use crate::identity::Version;

/// Files of one version that are read together, by the names that its log has for them.
pub(crate) type Part = Vec<String>;

impl Session {
    /// The files of a dataset at its version, those of up to so many rows together; `None` where they can not be read one by one.
    pub(crate) async fn parts(
        &self,
        dataset: &DatasetName,
        rows_max: usize,
    ) -> Result<Option<Vec<Part>>> {
        let Some(files) = self.schema.files(dataset).await? else { return Ok(None) };
        let (mut parts, mut rows) = (Vec::<Part>::new(), 0);
        for (name, of_file) in files {
            let of_file = of_file.unwrap_or(rows_max);
            match parts.last_mut().filter(|_| rows + of_file <= rows_max) {
                Some(part) => {
                    part.push(name);
                    rows += of_file;
                }
                None => {
                    parts.push(vec![name]);
                    rows = of_file;
                }
            }
        }
        Ok(Some(parts))
    }

    /// The columns of a dataset, as far as they are shown, and what is said of them.
    pub(crate) async fn spec(&self, dataset: &DatasetName) -> Result<DatasetSpec> {
        Ok(self.schema.entry(dataset).await?.spec.clone())
    }

    /// When a dataset was made, and when what is seen of it was changed last: of another of its name one of the two is another time.
    pub(crate) async fn made_and_changed(&self, dataset: &DatasetName) -> Result<String> {
        let entry = self.schema.entry(dataset).await?;
        Ok(format!("{:?} {:?}", entry.created_at, entry.updated_at))
    }

    /// The root, for what is written elsewhere.
    pub(crate) fn has_url(&self, text: &str) -> bool {
        self.schema.has_url(text)
    }

    /// The datasets that a plan reads, each with the version that is seen.
    pub fn reads(&self, frame: &DataFrame) -> Result<Vec<(DatasetName, Version)>> {
        let reading = Reading::of(frame.logical_plan(), &self.schema)?;
        let version = |name: &String| {
            self.schema.require(name).map(|(name, version)| (name.clone(), version))
        };
        reading.names().map(version).collect()
    }

    /// The folder of the root, where it is one.
    pub(crate) fn root_folder(&self) -> Option<&FilePath> {
        self.schema.root_folder()
    }

    /// The rows of one part, as far as they are shown.
    pub(crate) async fn part(&self, dataset: &DatasetName, part: Part) -> Result<DataFrame> {
        let opened = self.schema.part(dataset, part).await?;
        let frame = self.context.read_table(opened.table)?;
        Ok(frame_of(opened.entry.row_bytes, frame))
    }
}
