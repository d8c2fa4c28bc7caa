//! How well texts of one meaning find each other among many: each is a question, all others are answers, and the right ones
//! are those of its group.

use networks::{Device, cpu};

use crate::error::{Error, Result};

/// Questions whose similarities are computed together.
const BLOCK_ROWS: usize = 256;

/// How well it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    /// Texts that are not alone in their group.
    pub questions: usize,
    /// Part of them whose nearest other text is of their group.
    pub recall_at_1: f64,
    /// Part of them with a text of their group among the ten nearest.
    pub recall_at_10: f64,
    /// The mean of one over the place of the first of their group.
    pub mean_reciprocal_rank: f64,
    /// Of each question whether the nearest is of its group, in the order of the texts.
    pub is_found: Vec<bool>,
}

/// Judges `vectors`, one for each of `groups`, each of length 1. Of equal similarities the wrong answer counts as the
/// nearer one. Fails where no two texts are of one group.
pub fn retrieval(vectors: &[f32], groups: &[usize]) -> Result<Retrieval> {
    retrieval_on(cpu().as_ref(), vectors, groups)
}

/// The same with the products on `device`.
pub(crate) fn retrieval_on(
    device: &dyn Device,
    vectors: &[f32],
    groups: &[usize],
) -> Result<Retrieval> {
    let mut ranks: Vec<usize> = Vec::new();
    for_each_similarity(device, vectors, groups.len(), |row, similar| {
        let own = |column: &usize| *column != row && groups[*column] == groups[row];
        let right = (0..groups.len()).filter(own).map(|column| similar[column]);
        let Some(right) = right.reduce(f32::max) else { return };
        let others = groups.iter().zip(similar).filter(|(group, _)| **group != groups[row]);
        ranks.push(1 + others.filter(|(_, similarity)| **similarity >= right).count());
    })?;
    if ranks.is_empty() {
        let problem = "retrieval: expected two texts of one group, found none".to_owned();
        return Err(Error::Training { problem });
    }
    let questions = ranks.len();
    let within =
        |most: usize| ranks.iter().filter(|rank| **rank <= most).count() as f64 / questions as f64;
    Ok(Retrieval {
        questions,
        recall_at_1: within(1),
        recall_at_10: within(10),
        mean_reciprocal_rank: ranks.iter().map(|rank| 1.0 / *rank as f64).sum::<f64>()
            / questions as f64,
        is_found: ranks.iter().map(|rank| *rank == 1).collect(),
    })
}

/// Calls `each` with every row's number and its products with all of `rows`, in order.
pub(crate) fn for_each_similarity(
    device: &dyn Device,
    vectors: &[f32],
    rows: usize,
    mut each: impl FnMut(usize, &[f32]),
) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let size = vectors.len() / rows;
    for (block, some) in vectors.chunks(BLOCK_ROWS * size).enumerate() {
        let similar = product(device, some, vectors, size)?;
        for (row, similar) in similar.chunks_exact(rows).enumerate() {
            each(block * BLOCK_ROWS + row, similar);
        }
    }
    Ok(())
}

/// `left right'` of rows of `size` numbers each.
pub(crate) fn product(
    device: &dyn Device,
    left: &[f32],
    right: &[f32],
    size: usize,
) -> Result<Vec<f32>> {
    Ok(device.matrix(left.to_vec(), size).times_turned(right)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranks_are_those_counted_by_hand() {
        // On the unit circle at these degrees; 0 and 50 are of one group, 10 and 21 of another, 170 is alone.
        let degrees: [f32; 5] = [0.0, 50.0, 10.0, 21.0, 170.0];
        let vectors: Vec<f32> =
            degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect();
        let groups = [1, 1, 2, 2, 3];
        let found = retrieval(&vectors, &groups).unwrap();
        // From 0: 10, 21, then 50. From 50: 21, 10, then 0. From 10: 0, then 21. From 21: 10.
        assert_eq!(found.questions, 4);
        assert_eq!(found.is_found, [false, false, false, true]);
        assert_eq!((found.recall_at_1, found.recall_at_10), (0.25, 1.0));
        let expected = (1.0 / 3.0 + 1.0 / 3.0 + 0.5 + 1.0) / 4.0;
        assert!((found.mean_reciprocal_rank - expected).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn nothing_to_find_is_refused_and_equal_answers_count_against() {
        let vectors = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let message = retrieval(&vectors, &[1, 2, 3]).unwrap_err().to_string();
        assert!(message.contains("expected two texts of one group"), "{message}");
        let found = retrieval(&vectors, &[1, 1, 2]).unwrap();
        assert_eq!(found.recall_at_1, 0.0);
        assert!(retrieval(&[], &[]).is_err());
    }
}
