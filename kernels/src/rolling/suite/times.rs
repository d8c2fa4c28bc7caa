//! Windows by time.

use super::*;

fn times_agree<T: Element>() {
    let mut rng = generator("rolling::times_agree");
    for (rows, cols, width) in
        [(1, 1, 1), (3, 97, 40), (2, 1500, 300), (9, 700, 5000), (2, 9000, 60)]
    {
        // Bursts, gaps, equal times, and negative ones.
        let mut times = vec![0i64; rows * cols];
        for row in times.chunks_mut(cols) {
            let mut now = rng.random_range(-5000..5000);
            for time in row {
                *time = now;
                now += [0, 1, 2, 7, 90][rng.random_range(0..5)];
            }
        }
        let mut x = values::<T>(&mut rng, rows * cols, 1e4, 3.0);
        for value in &mut x {
            if rng.random_bool(0.1) {
                *value = T::NAN;
            } else if rng.random_bool(0.5) {
                *value = T::from_f64(value.to_f64().round());
            }
        }
        let options = TimeOptions { width, min_periods: rng.random_range(1..4) };
        let view = MatrixView::new(&x, rows, cols).unwrap();
        let each = Times::Each(MatrixView::new(&times, rows, cols).unwrap());
        for times in [each, Times::Shared(&times[..cols])] {
            let mut found = vec![vec![T::from_f64(-77.0); rows * cols]; ALL.len()];
            let mut outputs: Vec<RollingOutput<'_, T>> = found
                .iter_mut()
                .zip(ALL)
                .map(|(values, statistic)| {
                    let values = MatrixViewMut::new(values, rows, cols).unwrap();
                    RollingOutput::new(statistic, values)
                })
                .collect();
            let stats = rolling_by_time(view, times, &options, &mut outputs, &cpu()).unwrap();
            let missing = x.iter().filter(|value| value.to_f64().is_nan()).count() as u64;
            assert_eq!(stats.missing_values, missing);
            for row in 0..rows {
                let wide: Vec<f64> = view.row(row).iter().map(|value| value.to_f64()).collect();
                for (found, statistic) in found.iter().zip(ALL) {
                    let expected =
                        reference::rolling_by_time(&wide, times.row(row), &options, statistic);
                    for (t, expected) in expected.into_iter().enumerate() {
                        let found = found[row * cols + t].to_f64();
                        let close = (found.is_nan() && expected.is_nan())
                            || (found - expected).abs() <= bound::<T>(statistic) * 1e4;
                        assert!(
                            close,
                            "{statistic:?} [{row}, {t}] is {found}, expected {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn windows_by_time_agree_with_the_definition() {
    times_agree::<f32>();
    times_agree::<f64>();
}

#[test]
fn times_at_the_ends_of_their_range_are_no_overflow() {
    let times = [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX];
    let x = [1.0, 2.0, 3.0, 4.0, 5.0];
    let mut out = [0.0; 5];
    let mut counts = |width| {
        let values = MatrixViewMut::new(&mut out, 1, 5).unwrap();
        let output = RollingOutput::new(Statistic::Rank, values);
        let view = MatrixView::new(&x, 1, 5).unwrap();
        let options = TimeOptions::trailing(width);
        rolling_by_time(view, Times::Shared(&times), &options, &mut [output], &cpu()).unwrap();
        out
    };
    assert_eq!(counts(2), [1.0, 2.0, 1.0, 1.0, 2.0]);
    assert_eq!(counts(i64::MAX), [1.0, 2.0, 1.0, 2.0, 2.0]);
}

#[test]
fn times_that_do_not_fit_are_errors_that_name_them() {
    let x = [1.0f32; 6];
    let mut out = [0.0f32; 6];
    let mut run = |times: Times<'_>, options: TimeOptions, execution: &Execution| {
        let values = MatrixViewMut::new(&mut out, 2, 3).unwrap();
        let output = RollingOutput::new(Statistic::Mean, values);
        let view = MatrixView::new(&x, 2, 3).unwrap();
        rolling_by_time(view, times, &options, &mut [output], execution).unwrap_err().to_string()
    };
    let (options, times) = (TimeOptions::trailing(1), Times::Shared(&[1, 2, 3]));
    assert_eq!(
        run(Times::Shared(&[1, 2]), options, &cpu()),
        "rolling: times of 1 x 2; 1 x 3 are needed"
    );
    let each = [1, 2, 3, 4, 9, 8];
    assert_eq!(
        run(Times::Each(MatrixView::new(&each, 2, 3).unwrap()), options, &cpu()),
        "rolling: times is 8 after 9 at sample 2 of row 1; times must not fall"
    );
    assert_eq!(
        run(times, TimeOptions::trailing(0), &cpu()),
        "rolling: width is 0; it must be 1 or more"
    );
    assert_eq!(
        run(times, TimeOptions { width: 1, min_periods: 0 }, &cpu()),
        "rolling: min_periods is 0; it must be 1 or more"
    );
    let required = Execution { gpu: crate::GpuPolicy::Required, ..cpu() };
    assert_eq!(
        run(times, options, &required),
        "rolling: gpu = required, but windows by time have no CUDA path"
    );
}
