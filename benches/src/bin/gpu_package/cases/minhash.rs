//! Signatures of texts.

use kernels::minhash::{MinHashOptions, TextsView, signatures};
use kernels::{Execution, GpuPolicy, MatrixViewMut, Result};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{shrunk, texts};

const LENGTH: usize = 100;
/// Texts that are compared.
const SAMPLE: usize = 100;

struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
    options: MinHashOptions,
    found: Vec<u32>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (count, _) = shrunk(1_000_000, 200, scale);
    let (bytes, offsets) = texts(count, LENGTH);
    let options = MinHashOptions::default();
    let found = vec![0; count * options.functions];
    Box::new(Texts { bytes, offsets, options, found })
}

impl Texts {
    fn view(&self) -> Result<TextsView<'_>> {
        TextsView::new(&self.bytes, &self.offsets[..])
    }
}

impl Case for Texts {
    fn size(&self) -> String {
        let texts = self.offsets.len() - 1;
        format!("{texts} texts of {LENGTH} bytes, {} functions", self.options.functions)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let view = TextsView::new(&self.bytes, &self.offsets[..])?;
        let results = MatrixViewMut::new(&mut self.found, view.len(), self.options.functions)?;
        let stats = signatures(view, &self.options, results, execution)?;
        Ok(Round::of(stats).with_fallbacks_of(view.len() as u64, "texts"))
    }

    fn compare(&self) -> Result<Agreement> {
        let mut agreement =
            Agreement::new(format!("{SAMPLE} signatures with the processor's, bit by bit"), 0.0);
        let (view, functions) = (self.view()?, self.options.functions);
        let off = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        for row in spread(view.len(), SAMPLE) {
            let (text, mut expected) = (view.text(row), vec![0; functions]);
            let offsets = [0, text.len() as i64];
            let text = TextsView::new(text, &offsets[..])?;
            let results = MatrixViewMut::new(&mut expected, 1, functions)?;
            signatures(text, &self.options, results, &off)?;
            let found = &self.found[row * functions..][..functions];
            agreement.require(found == expected, || format!("text {row} differs"));
        }
        Ok(agreement)
    }
}
