//! What ours finds on real data, for `benches/peers/accuracy.py` to compare with the peers.
//!
//! `accuracy FILE`: reads one JSON object from standard input and writes one to standard output:
//! `forecast`: series (`values`, `season`, `horizon`); `profile`: series (`values`, `window`); `correlate`: `rows`. A
//! series is `[first, count]`: its place among the little-endian doubles of FILE, so that no digit of it is lost.

// A program whose purpose is to print.
#![allow(clippy::print_stdout)]

use std::error::Error;

use kernels::correlate::{CoefficientMatrix, CorrelateOptions, correlate_with};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::{Element, Execution, GpuPolicy, MatrixView};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("accuracy FILE")?;
    let bytes = std::fs::read(&path).map_err(|error| format!("read {path}: {error}"))?;
    let (doubles, _) = bytes.as_chunks::<8>();
    let doubles: Vec<f64> = doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let given: Value = serde_json::from_reader(std::io::stdin().lock())?;
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let all = |name: &str,
               find: fn(&Value, &[f64], &Execution) -> Found|
     -> Result<Vec<Value>, Box<dyn Error>> {
        list(&given, name)?.iter().map(|one| find(one, &doubles, &execution)).collect()
    };
    let found = json!({
        "forecast": all("forecast", forecasts)?,
        "profile": all("profile", profile)?,
        "correlate": all("correlate", correlations)?,
    });
    println!("{found}");
    Ok(())
}

type Found = Result<Value, Box<dyn Error>>;

fn forecasts(series: &Value, doubles: &[f64], execution: &Execution) -> Found {
    let values = part(&series["values"], doubles)?;
    let options = ForecastOptions {
        season: size(series, "season")?,
        horizon: size(series, "horizon")?,
        ..ForecastOptions::default()
    };
    let found = forecast(MatrixView::new(&values, 1, values.len())?, &options, execution)?;
    let fit = &found.series[0];
    let parameters = fit.parameters;
    Ok(json!({
        "model": fit.model.to_string(),
        "aicc": fit.aicc,
        "parameters": [parameters.alpha, parameters.beta, parameters.gamma, parameters.phi],
        "mean": found.mean(0),
    }))
}

fn profile(series: &Value, doubles: &[f64], execution: &Execution) -> Found {
    let values = part(&series["values"], doubles)?;
    let found =
        matrix_profile(&values, &ProfileOptions::window(size(series, "window")?), execution)?;
    let discords = found.discords(3);
    Ok(json!({
        "distances": found.profile.distances(),
        "discords": discords.iter().map(|discord| discord.window).collect::<Vec<_>>(),
    }))
}

fn correlations(matrix: &Value, doubles: &[f64], execution: &Execution) -> Found {
    let rows: Vec<Vec<f64>> =
        list(matrix, "rows")?.iter().map(|row| part(row, doubles)).collect::<Result<_, _>>()?;
    let narrow: Vec<Vec<f32>> =
        rows.iter().map(|row| row.iter().map(|&value| value as f32).collect()).collect();
    let pearson = CorrelateOptions::default();
    Ok(json!({
        "pearson, f64": dense(&rows, &pearson, execution)?,
        "pearson, f32": dense(&narrow, &pearson, execution)?,
        "spearman, f64": dense(&rows, &CorrelateOptions::spearman(), execution)?,
    }))
}

/// The coefficients of every pair, the earlier row first.
fn dense<T: Element>(rows: &[Vec<T>], options: &CorrelateOptions, execution: &Execution) -> Found {
    let values = rows.concat();
    let x = MatrixView::new(&values, rows.len(), rows.first().map_or(0, Vec::len))?;
    let mut sink = CoefficientMatrix::within(rows.len())?;
    let summary = correlate_with(x, options, &mut sink, execution)?;
    let matrix = sink.into_values(&summary);
    let above = (0..rows.len()).flat_map(|row| &matrix[row * rows.len()..][row + 1..rows.len()]);
    Ok(above.copied().collect())
}

fn list<'a>(object: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    object[name].as_array().ok_or_else(|| format!("`{name}` is not a list"))
}

fn size(object: &Value, name: &str) -> Result<usize, String> {
    let number = object[name].as_u64().ok_or_else(|| format!("`{name}` is not a whole number"))?;
    usize::try_from(number).map_err(|error| format!("`{name}`: {error}"))
}

/// The series at `[first, count]`.
fn part(place: &Value, doubles: &[f64]) -> Result<Vec<f64>, String> {
    let number = |index: usize| place[index].as_u64().and_then(|n| usize::try_from(n).ok());
    let found =
        number(0).zip(number(1)).and_then(|(first, count)| doubles.get(first..)?.get(..count));
    found
        .map(<[f64]>::to_vec)
        .ok_or_else(|| format!("{place} is no [first, count] within the file"))
}
