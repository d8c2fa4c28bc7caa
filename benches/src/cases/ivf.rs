//! An inverted-file index: made, and searched by many queries together and by one at a time.

use std::error::Error;
use std::rc::Rc;

use kernels::MatrixView;
use kernels::ivf::{IvfIndex, IvfOptions, Metric, SearchOptions};

use super::kmeans::gathered;
use super::{Case, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 200_000), setup.size("cols", 128));
    let (lists, probes) = (setup.size("lists", 1024), setup.size("probes", 16));
    let (queries, k) = (setup.size("queries", 10_000), setup.size("k", 10));
    let checked = setup.size("checked", 300).min(queries);
    // One generator for both: queries lie where vectors do.
    let all = Rc::new(gathered(rows + queries, cols, 3000, 11));
    setup.write("x.f32", &all[..rows * cols], f32::to_le_bytes)?;
    setup.write("q.f32", &all[rows * cols..], f32::to_le_bytes)?;
    let build = {
        let all = all.clone();
        move || {
            let x = MatrixView::new(&all[..rows * cols], rows, cols)?;
            let options = IvfOptions { lists, ..IvfOptions::new(Metric::Euclidean) };
            Ok(IvfIndex::build(x, &options, &setup.execution)?.0)
        }
    };
    let recall = {
        let all = all.clone();
        move |index: &IvfIndex| {
            let values = &all[rows * cols..(rows + checked) * cols];
            let recall = MatrixView::new(values, checked, cols).and_then(|few| {
                index.recall(few, &SearchOptions::new(k, probes), &setup.execution)
            });
            vec![recall.unwrap_or(f64::NAN)]
        }
    };
    let index: Rc<IvfIndex> = Rc::new(build().map_err(|error: kernels::Error| error.to_string())?);
    let search = {
        let (index, recall) = (index.clone(), recall.clone());
        move || {
            let queries = MatrixView::new(&all[rows * cols..], queries, cols)?;
            let options = SearchOptions::new(k, probes);
            timed(|| index.search(queries, &options, &setup.execution), |_| recall(&index))
        }
    };
    let note = format!("samples are recall@{k} of {checked} queries");
    let case =
        |name, note: String, run| Case { name, peers: &["faiss"], tolerance: 0.03, note, run };
    Ok(vec![
        case(
            "ivf build",
            format!("128 vectors a list, 10 iterations; {note}"),
            Box::new(move || timed(&build, |index| recall(&index))),
        ),
        case("ivf search", format!("{queries} queries; {note}"), Box::new(search)),
    ])
}
