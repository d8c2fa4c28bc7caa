//! Where the marks of an axis stand: round numbers, powers of ten, beginnings of days and months.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use crate::format::{Format, Kind};

/// An axis: from where to where, and its marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<(f64, String)>,
}

/// Round numbers around the data. With bytes, round in powers of 1024.
pub fn linear(least: f64, greatest: f64, marks: usize, format: &Format) -> Axis {
    let unit = match format.kind {
        Kind::Bytes => 1024_f64.powf((greatest.abs().max(1.0).ln() / 1024_f64.ln()).floor()),
        Kind::Percent => 0.01,
        _ => 1.0,
    };
    let (least, greatest) = (least / unit, greatest / unit);
    let (least, greatest) = if greatest - least > greatest.abs().max(least.abs()) * 1e-9 {
        (least, greatest)
    } else if greatest == 0.0 {
        (0.0, 1.0)
    } else if greatest > 0.0 {
        (least.min(0.0), greatest)
    } else {
        (least, 0.0)
    };
    let step = step((greatest - least) / count(marks));
    let (first, last) = ((least / step + 1e-9).floor(), (greatest / step - 1e-9).ceil());
    let number = |at: usize| (first + count(at)) * step * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some marks")]
    let ticks = (0..=((last - first).clamp(0.0, 100.0) as usize)).map(number);
    Axis {
        from: first * step * unit,
        to: last * step * unit,
        ticks: ticks.map(|number| (number, format.tick(number, step * unit))).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn count(marks: usize) -> f64 {
    marks as f64
}

/// The round number that is not less: 1, 2, 2.5 or 5 times a power of ten.
fn step(raw: f64) -> f64 {
    let power = 10_f64.powf(raw.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter();
    round.map(|times| times * power).find(|step| *step >= raw * 0.999_999).unwrap_or(raw)
}

/// Powers of ten, and 2 and 5 times them where there are few. Positions are logarithms.
pub fn logarithmic(least: f64, greatest: f64, format: &Format) -> Axis {
    let (from, to) = (least.log10().floor(), greatest.log10().ceil());
    let to = if to > from { to } else { from + 1.0 };
    #[expect(clippy::cast_possible_truncation, reason = "exponents of floats")]
    let (first, last) = (from as i32, to as i32);
    let every = ((last - first) / 7 + 1).unsigned_abs();
    let times: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    for power in (first..=last).step_by(usize::try_from(every).unwrap_or(1)) {
        for times in times {
            let number = times * 10_f64.powi(power);
            if number.log10() <= to + 1e-9 {
                ticks.push((number.log10(), format.tick(number, number)));
            }
        }
    }
    Axis { from, to, ticks }
}

/// What the marks of a time axis are apart.
enum Apart {
    Seconds(i64),
    Days(u64),
    Months(u32),
}

const HOUR: i64 = 3_600;
const DAY: f64 = 86_400.0;

/// Beginnings of hours, days, months or years in UTC. Numbers are seconds since 1970.
pub fn time(least: f64, greatest: f64, marks: usize) -> Axis {
    let (least, greatest) =
        if greatest > least { (least, greatest) } else { (least - DAY / 2.0, least + DAY / 2.0) };
    let apart = [60, 300, 900, 1_800, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR]
        .map(Apart::Seconds)
        .into_iter()
        .chain([1, 2, 7, 14].map(Apart::Days))
        .chain([1, 2, 3, 6, 12, 24, 60, 120, 600, 1_200, 12_000].map(Apart::Months));
    let mut axis = Axis { from: least, to: greatest, ticks: Vec::new() };
    for apart in apart {
        if (greatest - least) / seconds(&apart) > count(marks) + 0.5 {
            continue;
        }
        axis.ticks = instants(least, greatest, &apart);
        break;
    }
    axis
}

fn seconds(apart: &Apart) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    match apart {
        Apart::Seconds(seconds) => *seconds as f64,
        Apart::Days(days) => *days as f64 * DAY,
        Apart::Months(months) => f64::from(*months) * 30.44 * DAY,
    }
}

fn instants(least: f64, greatest: f64, apart: &Apart) -> Vec<(f64, String)> {
    #[expect(clippy::cast_possible_truncation, reason = "instants of rows")]
    let Some(first) = DateTime::<Utc>::from_timestamp(least.floor() as i64, 0) else {
        return Vec::new();
    };
    let day = first.date_naive();
    let mut at = match apart {
        Apart::Seconds(seconds) => {
            DateTime::from_timestamp(first.timestamp().div_euclid(*seconds) * seconds, 0)
        }
        Apart::Days(1 | 2) => midnight(day),
        Apart::Days(_) => {
            let back = u64::from(day.weekday().num_days_from_monday());
            day.checked_sub_days(Days::new(back)).and_then(midnight)
        }
        Apart::Months(months) if *months < 12 => {
            let month = (day.month0() / months) * months + 1;
            NaiveDate::from_ymd_opt(day.year(), month, 1).and_then(midnight)
        }
        Apart::Months(months) => {
            let years = i32::try_from(months / 12).unwrap_or(1);
            NaiveDate::from_ymd_opt(day.year().div_euclid(years) * years, 1, 1).and_then(midnight)
        }
    };
    let mut ticks: Vec<(f64, String)> = Vec::new();
    let mut before: Option<DateTime<Utc>> = None;
    while let Some(instant) = at {
        #[expect(clippy::cast_precision_loss, reason = "instants of rows")]
        let number = instant.timestamp() as f64;
        if number > greatest || ticks.len() > 100 {
            break;
        }
        if number >= least {
            ticks.push((number, label(instant, apart, before)));
            before = Some(instant);
        }
        at = match apart {
            Apart::Seconds(seconds) => {
                instant.checked_add_signed(chrono::TimeDelta::seconds(*seconds))
            }
            Apart::Days(days) => instant.checked_add_days(Days::new(*days)),
            Apart::Months(months) => instant.checked_add_months(Months::new(*months)),
        };
    }
    ticks
}

fn midnight(day: NaiveDate) -> Option<DateTime<Utc>> {
    day.and_hms_opt(0, 0, 0).map(|at| at.and_utc())
}

/// The day is said where it changes, and the year with the first mark and where it changes.
fn label(at: DateTime<Utc>, apart: &Apart, before: Option<DateTime<Utc>>) -> String {
    let new_year = before.is_none_or(|before| before.year() != at.year());
    let new_day = before.is_none_or(|before| before.date_naive() != at.date_naive());
    let pattern = match apart {
        Apart::Seconds(_) if new_day => "%-d %b %H:%M",
        Apart::Seconds(_) => "%H:%M",
        Apart::Days(_) if new_year => "%-d %b %Y",
        Apart::Days(_) => "%-d %b",
        Apart::Months(months) if *months >= 12 => "%Y",
        Apart::Months(_) if new_year => "%b %Y",
        Apart::Months(_) => "%b",
    };
    at.format(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn marks_are_round_and_enclose_the_data() {
        let axis = linear(0.0, 87.0, 5, &Format::default());
        assert_eq!((axis.from, axis.to), (0.0, 100.0));
        assert_eq!(labels(&axis), ["0", "20", "40", "60", "80", "100"]);
        let axis = linear(0.0, 0.0123, 5, &Format::parse("percent").unwrap());
        assert_eq!(labels(&axis).last(), Some(&"1.25\u{a0}%"));
        let axis = linear(5.0, 5.0, 5, &Format::default());
        assert!(axis.from <= 0.0 && axis.to >= 5.0);
        let axis = linear(0.0, 3e9, 4, &Format::parse("bytes").unwrap());
        assert_eq!(labels(&axis), ["0\u{a0}B", "1\u{a0}GiB", "2\u{a0}GiB", "3\u{a0}GiB"]);
    }

    #[test]
    fn a_logarithmic_axis_has_powers_of_ten() {
        let axis = logarithmic(3.0, 45_000.0, &Format::default());
        assert_eq!(labels(&axis), ["1", "10", "100", "1,000", "10k", "100k"]);
        assert_eq!(labels(&logarithmic(1.0, 10.0, &Format::default())), ["1", "2", "5", "10"]);
    }

    #[test]
    fn a_time_axis_has_days_weeks_and_months() {
        let at = |text: &str| {
            let day: NaiveDate = text.parse().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a test")]
            let seconds = midnight(day).unwrap().timestamp() as f64;
            seconds
        };
        let week = time(at("2026-01-05"), at("2026-01-12"), 8);
        assert_eq!(labels(&week)[..2], ["5 Jan 2026", "6 Jan"]);
        let months = time(at("2025-11-03"), at("2026-04-20"), 7);
        assert_eq!(labels(&months), ["Dec 2025", "Jan 2026", "Feb", "Mar", "Apr"]);
        let day = time(at("2026-01-05"), at("2026-01-06"), 6);
        assert_eq!(labels(&day)[..2], ["5 Jan 00:00", "06:00"]);
        assert!(time(0.0, 0.0, 5).ticks.len() < 10);
        assert!(time(-1e15, 1e15, 5).ticks.len() < 10);
    }
}
