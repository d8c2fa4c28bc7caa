//! What is said of parts and of their sums, made to agree: forecasts of agents, of their teams and of all.
//!
//! ```text
//!   y = S·b                              nodes from leaves; S says which leaves each is the sum of
//!   d = C·y,  C = [−A | I]               how far each sum is from its leaves; 0 where they agree
//!   ỹ = ŷ − W·Cᵀ·(C·W·Cᵀ)⁻¹·C·ŷ         MinT: of all that agree the one of least variance (S. L. Wickramasuriya, G. Athanasopoulos &
//!                                        R. J. Hyndman, JASA 114, 2019; in this form: Di Fonzo & Girolimetto, 2023)
//!   W = λ·diag(V) + (1 − λ)·V            V = E·Eᵀ/n of past errors; λ by J. Schäfer & K. Strimmer (SAGMB 4, 2005)
//! ```
//!
//! Cost: sums² · (leaves + observations), and sums³ once; λ takes nodes² · observations, and is 1 for more than [`DENSE_MAX`] nodes.

use crate::cholesky::{Cholesky, dot};

/// Nodes whose errors are compared with each other's.
pub const DENSE_MAX: usize = 1_000;
/// Added to each variance of a disagreement, as a part of it: sums of the same leaves say the same.
const RIDGE: f64 = 1e-8;

/// Leaves, and sums of some of them. Of nodes the leaves come first, then the sums.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hierarchy {
    /// How many leaves there are.
    pub leaves: usize,
    /// The leaves of each sum, rising.
    pub sums: Vec<Vec<usize>>,
}

/// Makes forecasts agree.
#[derive(Clone, Debug, PartialEq)]
pub struct MinT {
    hierarchy: Hierarchy,
    /// Leaf after leaf: what each disagreement takes from it.
    gains: Vec<f64>,
    /// By sum: one over the root of the variance of its disagreement.
    scales: Vec<f64>,
    disagreements: Cholesky,
    /// The part of the covariances that is taken as chance.
    pub shrinkage: f64,
}

impl Hierarchy {
    /// Leaves and sums together.
    pub fn nodes(&self) -> usize {
        self.leaves + self.sums.len()
    }

    /// All nodes from the leaves.
    pub fn summed(&self, leaves: &[f64]) -> Vec<f64> {
        let sum = |of: &Vec<usize>| of.iter().map(|leaf| leaves[*leaf]).sum();
        leaves.iter().copied().chain(self.sums.iter().map(sum)).collect()
    }

    /// How far each sum is from that of its leaves.
    fn disagreements(&self, nodes: &[f64]) -> Vec<f64> {
        let (leaves, sums) = nodes.split_at(self.leaves);
        let off =
            |(of, sum): (&Vec<usize>, &f64)| sum - of.iter().map(|leaf| leaves[*leaf]).sum::<f64>();
        self.sums.iter().zip(sums).map(off).collect()
    }
}

impl MinT {
    /// Learns from past errors, node after node as many of each, all finite.
    pub fn of(hierarchy: Hierarchy, errors: &[Vec<f64>]) -> Self {
        let (leaves, sums) = (hierarchy.leaves, hierarchy.sums.len());
        let observed = errors.first().map_or(0, Vec::len);
        let count = observed.max(1) as f64;
        let variances: Vec<f64> = errors.iter().map(|own| dot(own, own) / count).collect();
        let shrinkage = shrinkage(errors, &variances);
        let kept = 1.0 - shrinkage;
        // By sum, as far as errors disagreed.
        let mut apart = vec![vec![0.0; observed]; sums];
        for at in 0..observed {
            let nodes: Vec<f64> = errors.iter().map(|own| own[at]).collect();
            let found = hierarchy.disagreements(&nodes);
            apart.iter_mut().zip(found).for_each(|(apart, found)| apart[at] = found);
        }
        // C·W·Cᵀ: what is chance, and what is not.
        let mut matrix = vec![0.0; sums * sums];
        for (i, own) in apart.iter().enumerate() {
            matrix[i * sums + i] += shrinkage * variances[leaves + i];
            for (j, other) in apart[..=i].iter().enumerate() {
                matrix[i * sums + j] += kept * dot(own, other) / count;
            }
        }
        let mut gains = vec![0.0; leaves * sums];
        let mut above: Vec<Vec<usize>> = vec![Vec::new(); leaves];
        for (sum, of) in hierarchy.sums.iter().enumerate() {
            of.iter().for_each(|leaf| above[*leaf].push(sum));
        }
        for (leaf, above) in above.iter().enumerate() {
            for (place, i) in above.iter().enumerate() {
                gains[leaf * sums + i] -= shrinkage * variances[leaf];
                for j in &above[..=place] {
                    matrix[i * sums + j] += shrinkage * variances[leaf];
                }
            }
            for (gain, apart) in gains[leaf * sums..][..sums].iter_mut().zip(&apart) {
                *gain += kept * dot(&errors[leaf], apart) / count;
            }
        }
        let scale = |i: usize| {
            let variance = matrix[i * sums + i];
            if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 }
        };
        let scales: Vec<f64> = (0..sums).map(scale).collect();
        for i in 0..sums {
            for j in 0..=i {
                matrix[i * sums + j] *= scales[i] * scales[j];
            }
            // A disagreement that never was is one of its own.
            matrix[i * sums + i] = if scales[i] > 0.0 { 1.0 + RIDGE } else { 1.0 };
        }
        Self { hierarchy, gains, scales, disagreements: Cholesky::of(matrix, sums), shrinkage }
    }

    /// The leaves of what is said of all nodes.
    pub fn leaves(&self, nodes: &[f64]) -> Vec<f64> {
        let off = self.hierarchy.disagreements(nodes);
        let scaled = |values: Vec<f64>| -> Vec<f64> {
            values.iter().zip(&self.scales).map(|(value, scale)| value * scale).collect()
        };
        let weights = scaled(self.disagreements.solve(scaled(off)));
        let sums = self.hierarchy.sums.len();
        let corrected =
            |(leaf, said): (usize, &f64)| said - dot(&self.gains[leaf * sums..][..sums], &weights);
        nodes[..self.hierarchy.leaves].iter().enumerate().map(corrected).collect()
    }
}

/// The part of the correlations of errors that chance makes.
fn shrinkage(errors: &[Vec<f64>], variances: &[f64]) -> f64 {
    let observed = errors.first().map_or(0, Vec::len);
    if observed < 2 || errors.len() > DENSE_MAX {
        return 1.0;
    }
    let n = observed as f64;
    let scaled = |(own, variance): (&Vec<f64>, &f64)| -> Vec<f64> {
        let deviation = variance.sqrt();
        own.iter().map(|error| if deviation > 0.0 { error / deviation } else { 0.0 }).collect()
    };
    let scaled: Vec<Vec<f64>> = errors.iter().zip(variances).map(scaled).collect();
    let (mut chance, mut all) = (0.0, 0.0);
    for (at, a) in scaled.iter().enumerate() {
        for b in &scaled[..at] {
            let products = a.iter().zip(b).map(|(a, b)| a * b);
            let (sum, squares) =
                products.fold((0.0, 0.0), |(sum, squares), p| (sum + p, squares + p * p));
            chance += (squares - sum * sum / n) / (n * (n - 1.0));
            all += (sum / n).powi(2);
        }
    }
    if all > 0.0 { (chance / all).clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    /// Two teams of two and three, and all.
    fn teams() -> Hierarchy {
        Hierarchy { leaves: 5, sums: vec![vec![0, 1], vec![2, 3, 4], vec![0, 1, 2, 3, 4]] }
    }

    /// Errors of leaves that go together, and of sums that have more of their own.
    fn errors(observed: usize) -> Vec<Vec<f64>> {
        let mut noise = Noise::new(11);
        let mut errors = vec![Vec::new(); 8];
        for _ in 0..observed {
            let common = noise.normal();
            let leaves: Vec<f64> =
                (0..5).map(|leaf| common + (leaf + 1) as f64 * 0.5 * noise.normal()).collect();
            for (own, error) in errors.iter_mut().zip(teams().summed(&leaves)) {
                own.push(error + 0.7 * noise.normal());
            }
        }
        errors
    }

    /// W by its definition, row after row.
    fn covariance(errors: &[Vec<f64>], shrinkage: f64) -> Vec<f64> {
        let n = errors[0].len() as f64;
        let nodes = errors.len();
        (0..nodes * nodes)
            .map(|at| {
                let (i, j) = (at / nodes, at % nodes);
                let kept = if i == j { 1.0 } else { 1.0 - shrinkage };
                kept * dot(&errors[i], &errors[j]) / n
            })
            .collect()
    }

    #[test]
    fn of_all_that_agree_it_is_the_one_of_least_variance() {
        for observed in [1, 4, 30] {
            let errors = errors(observed);
            let mint = MinT::of(teams(), &errors);
            let said = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 20.0];
            let leaves = mint.leaves(&said);
            let found = teams().summed(&leaves);
            assert_eq!(
                found[5..],
                [found[0] + found[1], found[2] + found[3] + found[4], leaves.iter().sum()]
            );
            // The slope of (ŷ − S·b)ᵀ·W⁻¹·(ŷ − S·b) is 0 there.
            let off: Vec<f64> = said.iter().zip(&found).map(|(said, found)| said - found).collect();
            let weighed = Cholesky::of(covariance(&errors, mint.shrinkage), 8).solve(off);
            for leaf in 0..5 {
                let above =
                    teams().sums.into_iter().enumerate().filter(|(_, of)| of.contains(&leaf));
                let slope = weighed[leaf] + above.map(|(sum, _)| weighed[5 + sum]).sum::<f64>();
                assert!(slope.abs() < 1e-5, "{slope} of leaf {leaf}, {observed} observed");
            }
        }
    }

    #[test]
    fn what_agrees_stays_and_a_sure_sum_wins() {
        let errors = errors(30);
        let mint = MinT::of(teams(), &errors);
        let said = teams().summed(&[3.0, 1.0, 4.0, 1.0, 5.0]);
        for (found, said) in mint.leaves(&said).into_iter().zip(said) {
            assert!((found - said).abs() < 1e-9, "{found} for {said}");
        }
        // A total without errors: leaves share what is missing by their variances.
        let all = Hierarchy { leaves: 2, sums: vec![vec![0, 1]] };
        let errors = [vec![1.0, -1.0, 1.0, -1.0], vec![2.0, 2.0, -2.0, -2.0], vec![0.0; 4]];
        let found = MinT::of(all, &errors).leaves(&[10.0, 10.0, 25.0]);
        assert!((found[0] - 11.0).abs() < 1e-6 && (found[1] - 14.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn correlations_of_few_observations_are_mostly_chance() {
        let found = [3, 30, 3_000].map(|observed| MinT::of(teams(), &errors(observed)).shrinkage);
        assert!(found[0] > found[1] && found[1] > found[2], "{found:?}");
        assert!(found[0] > 0.3 && found[2] < 0.01, "{found:?}");
        assert_eq!(MinT::of(teams(), &errors(1)).shrinkage, 1.0);
        // The formula, computed in NumPy.
        let given = [vec![1.0, 2.0, -1.0, 0.5], vec![0.5, 1.0, -2.0, -1.0]];
        let variances = given.clone().map(|own| dot(&own, &own) / 4.0);
        assert!(
            (shrinkage(&given, &variances) - 0.375).abs() < 1e-12,
            "{}",
            shrinkage(&given, &variances)
        );
    }

    #[test]
    fn nothing_to_learn_from_and_nothing_to_sum_are_no_failure() {
        let said = [1.0, 2.0, 5.0];
        let two = Hierarchy { leaves: 2, sums: vec![vec![0, 1]] };
        // Without errors nothing says who is right.
        assert_eq!(MinT::of(two.clone(), &vec![Vec::new(); 3]).leaves(&said), [1.0, 2.0]);
        assert_eq!(MinT::of(two, &vec![vec![0.0; 4]; 3]).leaves(&said), [1.0, 2.0]);
        let none = Hierarchy { leaves: 2, sums: Vec::new() };
        assert_eq!(MinT::of(none, &vec![vec![1.0]; 2]).leaves(&said[..2]), [1.0, 2.0]);
    }
}
