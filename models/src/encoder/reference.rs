//! The encoder, slow and obviously right: one text at a time, in double precision, straight from the published
//! names.

use std::collections::BTreeMap;

use networks::Pooling;

use super::config::EncoderConfig;

pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
type Rows = Vec<Vec<f64>>;

struct Reference<'a> {
    config: &'a EncoderConfig,
    tensors: &'a Tensors,
}

/// The vector of one text.
pub fn embed(config: &EncoderConfig, tensors: &Tensors, ids: &[u32]) -> Vec<f64> {
    let reference = Reference { config, tensors };
    let rows = reference.forward(ids);
    let pooled = match config.pooling {
        Pooling::Cls => rows[0].clone(),
        Pooling::Mean => {
            let mut mean = vec![0.0; rows[0].len()];
            for row in &rows {
                mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / rows.len() as f64);
            }
            mean
        }
    };
    let length = pooled.iter().map(|x| x * x).sum::<f64>().sqrt();
    pooled.iter().map(|x| x / length).collect()
}

impl Reference<'_> {
    fn forward(&self, ids: &[u32]) -> Rows {
        let embedded: Rows = ids
            .iter()
            .enumerate()
            .map(|(place, id)| {
                let word = self.row("embeddings.word_embeddings.weight", *id as usize);
                let position = self.row("embeddings.position_embeddings.weight", place);
                let segment = self.row("embeddings.token_type_embeddings.weight", 0);
                add(&add(&word, &position), &segment)
            })
            .collect();
        let first = self.norm(&embedded, "embeddings.LayerNorm");
        (0..self.config.network.num_hidden_layers)
            .fold(first, |x, layer| self.layer(&x, &format!("encoder.layer.{layer}.")))
    }

    fn layer(&self, x: &Rows, name: &str) -> Rows {
        let [q, k, v] = ["query", "key", "value"]
            .map(|part| self.dense(x, &format!("{name}attention.self.{part}")));
        let heads = self.config.network.num_attention_heads;
        let size = self.config.network.hidden_size / heads;
        let mut attended = vec![vec![0.0; heads * size]; x.len()];
        for head in 0..heads {
            let part = head * size..(head + 1) * size;
            for (i, out) in attended.iter_mut().enumerate() {
                let scores: Vec<f64> = k
                    .iter()
                    .map(|k| dot(&q[i][part.clone()], &k[part.clone()]) / (size as f64).sqrt())
                    .collect();
                let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                for (score, v) in scores.iter().zip(&v) {
                    for at in part.clone() {
                        out[at] += score.exp() / sum * v[at];
                    }
                }
            }
        }
        let attended = self.dense(&attended, &format!("{name}attention.output.dense"));
        let x = self.norm(&sums(x, &attended), &format!("{name}attention.output.LayerNorm"));
        let up = self.dense(&x, &format!("{name}intermediate.dense"));
        let up: Rows = up.iter().map(|row| row.iter().map(|x| gelu(*x)).collect()).collect();
        let down = self.dense(&up, &format!("{name}output.dense"));
        self.norm(&sums(&x, &down), &format!("{name}output.LayerNorm"))
    }

    fn dense(&self, x: &Rows, name: &str) -> Rows {
        let (shape, _) = &self.tensors[&format!("{name}.weight")];
        let bias = self.row(&format!("{name}.bias"), 0);
        let weight: Rows =
            (0..shape[0]).map(|at| self.row(&format!("{name}.weight"), at)).collect();
        let product = |x: &Vec<f64>| {
            weight.iter().zip(&bias).map(|(w, b)| dot(x, w) + b).collect::<Vec<f64>>()
        };
        x.iter().map(product).collect()
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let gamma = self.row(&format!("{name}.weight"), 0);
        let beta = self.row(&format!("{name}.bias"), 0);
        let one = |row: &Vec<f64>| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let scale = (variance + self.config.network.layer_norm_eps).sqrt();
            let scaled = row.iter().map(|x| (x - mean) / scale);
            scaled.zip(&gamma).zip(&beta).map(|((x, g), b)| x * g + b).collect::<Vec<f64>>()
        };
        x.iter().map(one).collect()
    }

    /// A row of a matrix; a vector is its own first row.
    fn row(&self, name: &str, at: usize) -> Vec<f64> {
        let (shape, values) = &self.tensors[name];
        let width = shape[shape.len() - 1];
        values[at * width..(at + 1) * width].iter().map(|x| f64::from(*x)).collect()
    }
}

/// `x Φ(x)`, the error function by the trapezoid rule on its integral.
fn gelu(x: f64) -> f64 {
    let (end, steps) = (x / std::f64::consts::SQRT_2, 2_000);
    let width = end / f64::from(steps);
    let inner: f64 = (1..steps).map(|n| (-(f64::from(n) * width).powi(2)).exp()).sum();
    let integral = width * (inner + 0.5 * (1.0 + (-end * end).exp()));
    0.5 * x * (1.0 + std::f64::consts::FRAC_2_SQRT_PI * integral)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn sums(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| add(a, b)).collect()
}
