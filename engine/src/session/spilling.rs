//! Spill files that reject writes once their query is cancelled.
//!
//! A sort that spills writes all rows that it holds, and does not check for cancellation between
//! two batches.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use kernels::Control;

use super::cancellation::cancelled;

/// A disk manager for a query that `control` cancels. Its files count against the limit of
/// `shared`.
pub(super) fn cancellable_disk_manager(
    shared: &Arc<DiskManager>,
    control: &Control,
) -> Result<Arc<DiskManager>> {
    let factory = CancellableSpillFactory { shared: Arc::clone(shared), control: control.clone() };
    let manager = DiskManagerBuilder::default()
        .with_temp_file_factory(Arc::new(factory))
        .with_max_spill_merge_fan_in(shared.max_spill_merge_fan_in());
    Ok(Arc::new(manager.build()?))
}

struct CancellableSpillFactory {
    shared: Arc<DiskManager>,
    control: Control,
}

impl TempFileFactory for CancellableSpillFactory {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = self.shared.create_tmp_file(description)?;
        Ok(Arc::new(CancellableSpillFile { file, control: self.control.clone() }))
    }
}

struct CancellableSpillFile {
    file: Arc<dyn SpillFile>,
    control: Control,
}

impl SpillFile for CancellableSpillFile {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let writer = self.file.open_writer()?;
        Ok(Box::new(CancellableSpillWriter { writer, control: self.control.clone() }))
    }
}

struct CancellableSpillWriter {
    writer: Box<dyn SpillWriter>,
    control: Control,
}

impl io::Write for CancellableSpillWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.control.is_cancelled() {
            return Err(io::Error::other(cancelled()));
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for CancellableSpillWriter {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn a_cancelled_query_cannot_spill() {
        let shared = Arc::new(DiskManagerBuilder::default().build().unwrap());
        let control = Control::new();
        let manager = cancellable_disk_manager(&shared, &control).unwrap();
        assert!(manager.tmp_files_enabled());
        let file = manager.create_tmp_file("a sort").unwrap();
        let mut writer = file.open_writer().unwrap();
        writer.write_all(&[7; 100]).unwrap();
        assert_eq!((file.size(), shared.used_disk_space()), (Some(100), 100));
        control.cancel();
        let error = writer.write_all(&[7; 100]).unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        drop((writer, file));
        assert_eq!(shared.used_disk_space(), 0);
    }
}
