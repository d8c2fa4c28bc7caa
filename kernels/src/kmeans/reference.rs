//! Lloyd's algorithm, word by word, in f64. Slow and obviously right.

/// What was found, in the words of [`Clustering`](super::Clustering).
pub(super) struct Found {
    pub(super) centres: Vec<Vec<f64>>,
    pub(super) labels: Vec<Option<u32>>,
    pub(super) inertia: f64,
    pub(super) iterations: usize,
    pub(super) converged: bool,
}

pub(super) fn squared_distance(x: &[f64], centre: &[f64]) -> f64 {
    x.iter().zip(centre).map(|(x, c)| (x - c) * (x - c)).sum()
}

/// The nearest centre, the lower of two as near; none for a row that is left out.
fn nearest(x: &[f64], centres: &[Vec<f64>]) -> Option<u32> {
    if x.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut best = 0;
    for centre in 1..centres.len() {
        if squared_distance(x, &centres[centre]) < squared_distance(x, &centres[best]) {
            best = centre;
        }
    }
    Some(best as u32)
}

fn distance_of(rows: &[Vec<f64>], labels: &[Option<u32>], centres: &[Vec<f64>], row: usize) -> f64 {
    labels[row].map_or(0.0, |label| squared_distance(&rows[row], &centres[label as usize]))
}

/// From `centres`, at most `iterations` times.
pub(super) fn lloyd(
    rows: &[Vec<f64>],
    mut centres: Vec<Vec<f64>>,
    iterations: usize,
    tolerance: f64,
) -> Found {
    let finite: Vec<&Vec<f64>> =
        rows.iter().filter(|row| row.iter().all(|value| value.is_finite())).collect();
    let cols = centres[0].len();
    let variance = (0..cols)
        .map(|column| {
            let mean = finite.iter().map(|row| row[column]).sum::<f64>() / finite.len() as f64;
            finite.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / finite.len() as f64
        })
        .sum::<f64>()
        / cols as f64;
    let assign = |centres: &[Vec<f64>]| -> Vec<Option<u32>> {
        rows.iter().map(|row| nearest(row, centres)).collect()
    };
    let mut labels = assign(&centres);
    let (mut done, mut converged) = (0, false);
    while done < iterations && !converged {
        let mut taken = vec![false; rows.len()];
        for centre in 0..centres.len() {
            let size = |label: Option<u32>, labels: &[Option<u32>]| {
                labels.iter().filter(|&&other| other == label).count()
            };
            if size(Some(centre as u32), &labels) > 0 {
                continue;
            }
            let distance = |row: usize| distance_of(rows, &labels, &centres, row);
            let mut farthest = None;
            for row in 0..rows.len() {
                let far = farthest.map_or(0.0, distance);
                if !taken[row] && distance(row) > far && size(labels[row], &labels) > 1 {
                    farthest = Some(row);
                }
            }
            if let Some(row) = farthest {
                labels[row] = Some(centre as u32);
                taken[row] = true;
            }
        }
        let mut moved = 0.0;
        for (index, centre) in centres.iter_mut().enumerate() {
            let own: Vec<&Vec<f64>> = rows
                .iter()
                .zip(&labels)
                .filter_map(|(row, label)| (*label == Some(index as u32)).then_some(row))
                .collect();
            if own.is_empty() {
                continue;
            }
            let mean: Vec<f64> = (0..cols)
                .map(|column| own.iter().map(|row| row[column]).sum::<f64>() / own.len() as f64)
                .collect();
            moved += squared_distance(&mean, centre);
            *centre = mean;
        }
        let next = assign(&centres);
        converged = next == labels || moved <= tolerance * variance;
        labels = next;
        done += 1;
    }
    let inertia = (0..rows.len()).map(|row| distance_of(rows, &labels, &centres, row)).sum();
    Found { centres, labels, inertia, iterations: done, converged }
}
