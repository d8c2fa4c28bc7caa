//! The sizes and the data of one suite: the same for ours and for every peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use benches::Random;
use kernels::{Execution, GpuPolicy, Pool};

use crate::options::Options;

/// Where a suite runs, and what it runs on.
pub struct Setup {
    /// On the processor, with the threads that were asked for.
    pub execution: Execution,
    folder: PathBuf,
    given: BTreeMap<String, usize>,
    used: RefCell<BTreeMap<&'static str, usize>>,
}

impl Setup {
    /// An empty folder for data, and the sizes from the command line.
    pub fn new(suite: &str, options: &Options) -> Result<Self, String> {
        let name = format!("colonnade-bench-{suite}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("make {}: {error}", folder.display()))?;
        let pool = Pool::with_threads(options.threads).map_err(|error| error.to_string())?;
        let execution = Execution { gpu: GpuPolicy::Off, pool: Some(pool), ..Execution::default() };
        Ok(Self { execution, folder, given: options.sizes.clone(), used: RefCell::default() })
    }

    /// A size of this suite, from the command line or its own. The peers get every size that was asked for.
    pub fn size(&self, name: &'static str, own: usize) -> usize {
        let size = self.given.get(name).copied().unwrap_or(own);
        self.used.borrow_mut().insert(name, size);
        size
    }

    /// The sizes as they are given on the command line.
    pub fn sizes(&self) -> String {
        let sizes = self.used.borrow();
        sizes.iter().map(|(name, size)| format!(" --set {name}={size}")).collect()
    }

    /// What the peers need to know, as JSON.
    pub fn for_peers(&self) -> String {
        let sizes: serde_json::Map<String, serde_json::Value> =
            self.used.borrow().iter().map(|(&name, &size)| (name.into(), size.into())).collect();
        serde_json::json!({ "folder": self.folder, "sizes": sizes }).to_string()
    }

    /// Writes numbers to a file for the peers, little-endian.
    pub fn write<T: Copy, const N: usize>(
        &self,
        file: &str,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(), String> {
        let all: Vec<u8> = values.iter().flat_map(|&value| bytes(value)).collect();
        self.write_bytes(file, &all)
    }

    /// Writes a file for the peers.
    pub fn write_bytes(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.folder.join(file);
        std::fs::write(&path, bytes).map_err(|error| format!("write {}: {error}", path.display()))
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        // Nothing to be done about a temporary folder that can't be removed.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Series that wander a little, with an offset each, row after row.
pub fn wandering(rows: usize, cols: usize) -> Vec<f64> {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let mut values = Vec::with_capacity(rows * cols);
    for row in 0..rows {
        let mut level = 100.0 + row as f64;
        for _ in 0..cols {
            let noise: f64 = (0..4).map(|_| random.uniform()).sum::<f64>() - 2.0;
            level += 0.05 * (random.uniform() - 0.5);
            values.push(level + noise);
        }
    }
    values
}
