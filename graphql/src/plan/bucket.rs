//! Cutting time into equal parts on a local clock: `every: {column: AT, width: "1h", timezone: …}`.
//!
//! A bucket is named by the instant at which it begins. Days and longer follow the calendar of the
//! time zone, so a day may have 23 or 25 hours. Hours and shorter count from local midnight; in the
//! hour that a clock change repeats, both hours stay buckets of their own.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Date32Builder, ListBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;
use datafusion::common::{Result as PlanResult, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use engine::Result;

use crate::error::bad_input;

/// The length of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    /// Seconds that divide a day evenly.
    Seconds(u32),
    /// Days, counted from 1970-01-01.
    Days(u32),
    /// Weeks from Monday on, counted from 1969-12-29.
    Weeks(u32),
    /// Months, counted from January of year 0.
    Months(u32),
}

const DAY_SECONDS: u32 = 86_400;
const COUNT_MAX: u32 = 10_000;
/// 1969-12-29, the Monday before the epoch, in days since it.
const MONDAY: i64 = -3;

impl FromStr for Width {
    type Err = engine::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(40).collect();
            bad_input(format!(
                "every.width: expected a count and a unit out of s, m, h, d, w, mo, q, y, like \"15m\" \
                 or \"1d\", found {shown:?}{why}"
            ))
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let count: u32 = count.parse().map_err(|_| wrong(""))?;
        if count == 0 || count > COUNT_MAX {
            return Err(wrong("; the count is 1 to 10000"));
        }
        let seconds = |unit: u32| match count.checked_mul(unit) {
            Some(DAY_SECONDS) => Ok(Self::Days(1)),
            Some(width) if width < DAY_SECONDS && DAY_SECONDS.is_multiple_of(width) => {
                Ok(Self::Seconds(width))
            }
            _ => Err(wrong("; widths below a day must divide a day evenly")),
        };
        match unit {
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3_600),
            "d" => Ok(Self::Days(count)),
            "w" => Ok(Self::Weeks(count)),
            "mo" => Ok(Self::Months(count)),
            "q" => Ok(Self::Months(count * 3)),
            "y" => Ok(Self::Months(count * 12)),
            _ => Err(wrong("")),
        }
    }
}

/// The time zone of that IANA name.
pub(crate) fn timezone(name: &str) -> Result<Tz> {
    name.parse().map_err(|_| {
        let shown: String = name.chars().take(60).collect();
        bad_input(format!(
            "every.timezone: expected an IANA name like \"Europe/Berlin\" or \"UTC\", found {shown:?}"
        ))
    })
}

/// The begin of the bucket that `column`, a timestamp or a date, falls into.
pub(crate) fn bucket(column: Expr, width: Width, zone: Tz) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(TimeBucket { signature, width, zone }).call(vec![column])
}

/// Buckets between two that a group has, at most.
const GAP_MAX: usize = 10_000;
/// The same of the groups that are looked at together.
const GAPS_MAX: usize = 1 << 20;

/// The buckets from the one that begins at `from` on until that at `until`, which is not among them; the first alone where there is
/// no `until`.
pub(crate) fn buckets_between(from: Expr, until: Expr, width: Width, zone: Tz) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    let cut = TimeBucket { signature: signature.clone(), width, zone };
    ScalarUDF::new_from_impl(Between { signature, cut }).call(vec![from, until])
}

/// The begin of the bucket behind the one that begins at `from`.
pub(crate) fn bucket_behind(from: Expr, width: Width, zone: Tz) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let cut = TimeBucket { signature: signature.clone(), width, zone };
    ScalarUDF::new_from_impl(Behind { signature, cut }).call(vec![from])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Between {
    signature: Signature,
    cut: TimeBucket,
}

impl ScalarUDFImpl for Between {
    fn name(&self) -> &str {
        "buckets_between"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> PlanResult<DataType> {
        let item = self.cut.return_type(arguments.get(..1).unwrap_or_default())?;
        Ok(DataType::new_list(item, true))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let [from, until] = &arrays[..] else {
            return exec_err!("buckets_between takes two timestamps or dates");
        };
        let mut left = GAPS_MAX;
        let list: ArrayRef = match from.data_type() {
            DataType::Date32 => {
                let mut lists = ListBuilder::new(Date32Builder::new());
                let (from, until) =
                    (from.as_primitive::<Date32Type>(), until.as_primitive::<Date32Type>());
                for (from, until) in from.iter().zip(until) {
                    lists.values().append_option(from);
                    let gap =
                        self.cut.gap(from, until, &mut left, |day| self.cut.day_behind(day))?;
                    gap.into_iter().for_each(|day| lists.values().append_value(day));
                    lists.append(true);
                }
                Arc::new(lists.finish())
            }
            _ => {
                let zoned = TimestampMicrosecondBuilder::new().with_timezone("UTC");
                let mut lists = ListBuilder::new(zoned);
                let (from, until) = (
                    from.as_primitive::<TimestampMicrosecondType>(),
                    until.as_primitive::<TimestampMicrosecondType>(),
                );
                for (from, until) in from.iter().zip(until) {
                    lists.values().append_option(from);
                    let gap =
                        self.cut.gap(from, until, &mut left, |at| self.cut.instant_behind(at))?;
                    gap.into_iter().for_each(|at| lists.values().append_value(at));
                    lists.append(true);
                }
                Arc::new(lists.finish())
            }
        };
        Ok(ColumnarValue::Array(list))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Behind {
    signature: Signature,
    cut: TimeBucket,
}

impl ScalarUDFImpl for Behind {
    fn name(&self) -> &str {
        "bucket_behind"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> PlanResult<DataType> {
        self.cut.return_type(arguments)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let Some(from) = arrays.first() else {
            return exec_err!("bucket_behind takes a timestamp or a date, found nothing");
        };
        let behind: ArrayRef = match from.data_type() {
            DataType::Date32 => {
                let days = from.as_primitive::<Date32Type>().iter();
                let behind = days.map(|day| day.and_then(|day| self.cut.day_behind(day)));
                Arc::new(behind.collect::<Date32Array>())
            }
            _ => {
                let instants = from.as_primitive::<TimestampMicrosecondType>().iter();
                let behind = instants.map(|at| at.and_then(|at| self.cut.instant_behind(at)));
                Arc::new(behind.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
            }
        };
        Ok(ColumnarValue::Array(behind))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
    width: Width,
    zone: Tz,
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> PlanResult<DataType> {
        match arguments {
            [DataType::Date32] => Ok(DataType::Date32),
            [DataType::Timestamp(..)] => {
                Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
            }
            other => exec_err!("time_bucket takes a timestamp or a date, found {other:?}"),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let Some(array) = arrays.first() else {
            return exec_err!("time_bucket takes a timestamp or a date, found nothing");
        };
        let cut: ArrayRef = match array.data_type() {
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>();
                let cut: Date32Array =
                    days.iter().map(|day| day.and_then(|d| self.day(d))).collect();
                Arc::new(cut)
            }
            _ => {
                let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
                let array = arrow::compute::cast(array, &utc)?;
                let instants = array.as_primitive::<TimestampMicrosecondType>();
                let mut recent = Recent::default();
                let cut: TimestampMicrosecondArray = instants
                    .iter()
                    .map(|at| at.and_then(|at| recent.get(at, || self.instant(at))))
                    .collect();
                Arc::new(cut.with_timezone("UTC"))
            }
        };
        Ok(ColumnarValue::Array(cut))
    }
}

/// The bucket of the row before, which most rows of a time-ordered file share.
#[derive(Default)]
struct Recent {
    from: i64,
    until: i64,
}

impl Recent {
    fn get(&mut self, at: i64, cut: impl FnOnce() -> Option<i64>) -> Option<i64> {
        if self.from <= at && at < self.until {
            return Some(self.from);
        }
        let from = cut()?;
        // What lies between a bucket's begin and one of its instants is in the bucket, too.
        (self.from, self.until) = (from, at.saturating_add(1));
        Some(from)
    }
}

impl TimeBucket {
    fn instant(&self, micros: i64) -> Option<i64> {
        let utc = DateTime::from_timestamp_micros(micros)?;
        let local = utc.with_timezone(&self.zone).naive_local();
        let begin = match self.width {
            Width::Seconds(width) => {
                let midnight = local.date().and_time(NaiveTime::MIN);
                let elapsed = local.signed_duration_since(midnight).num_microseconds()?;
                let width = i64::from(width) * 1_000_000;
                let into = elapsed.rem_euclid(width);
                if width <= 3_600_000_000 {
                    return micros.checked_sub(into);
                }
                midnight.checked_add_signed(TimeDelta::microseconds(elapsed - into))?
            }
            _ => self.date(local.date())?.and_time(NaiveTime::MIN),
        };
        Some(self.to_utc(begin)?.timestamp_micros())
    }

    fn day(&self, days: i32) -> Option<i32> {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
        let day = epoch.checked_add_signed(TimeDelta::try_days(i64::from(days))?)?;
        let begin = match self.width {
            Width::Seconds(_) => day,
            _ => self.date(day)?,
        };
        i32::try_from(begin.signed_duration_since(epoch).num_days()).ok()
    }

    fn date(&self, day: NaiveDate) -> Option<NaiveDate> {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
        let back = |width: i64, origin: i64| {
            let since = day.signed_duration_since(epoch).num_days() - origin;
            day.checked_sub_days(Days::new(since.rem_euclid(width).unsigned_abs()))
        };
        match self.width {
            Width::Seconds(_) => Some(day),
            Width::Days(count) => back(i64::from(count), 0),
            Width::Weeks(count) => back(i64::from(count) * 7, MONDAY),
            Width::Months(count) => {
                let months = i64::from(day.year()) * 12 + i64::from(day.month0());
                let into = u32::try_from(months.rem_euclid(i64::from(count))).ok()?;
                day.with_day(1)?.checked_sub_months(Months::new(into))
            }
        }
    }

    /// The begins of the buckets between two.
    fn gap<T: Copy + PartialOrd>(
        &self,
        from: Option<T>,
        until: Option<T>,
        left: &mut usize,
        behind: impl Fn(T) -> Option<T>,
    ) -> PlanResult<Vec<T>> {
        let (Some(mut at), Some(until)) = (from, until) else { return Ok(Vec::new()) };
        let mut gap = Vec::new();
        while let Some(next) = behind(at).filter(|next| *next < until) {
            if gap.len() == GAP_MAX {
                let says = format!(
                    "every.fill: more than {GAP_MAX} buckets between two that a group has; choose a longer width"
                );
                return Err(DataFusionError::External(Box::new(bad_input(says))));
            }
            if gap.len() == *left {
                let says = format!(
                    "every.fill: more than {GAPS_MAX} buckets between those that groups have; choose a longer width, or fewer groups"
                );
                return Err(DataFusionError::External(Box::new(bad_input(says))));
            }
            gap.push(next);
            at = next;
        }
        *left -= gap.len();
        Ok(gap)
    }

    /// The begin of the bucket behind the one that begins then.
    fn instant_behind(&self, micros: i64) -> Option<i64> {
        let Width::Seconds(width) = self.width else {
            let begin = DateTime::from_timestamp_micros(micros)?.with_timezone(&self.zone);
            let day = self.days_behind(begin.date_naive())?;
            return Some(self.to_utc(day.and_time(NaiveTime::MIN))?.timestamp_micros());
        };
        // A bucket that a clock change makes longer ends an hour later, or, where a zone crossed the date line, a day.
        let width = i64::from(width) * 1_000_000;
        let step = width.min(900_000_000);
        let end = micros.checked_add(width)?;
        (0..=(86_400_000_000 / step)).find_map(|steps| {
            let begin = self.instant(end.checked_add(steps * step)?)?;
            (begin > micros).then_some(begin)
        })
    }

    /// The same of days.
    fn day_behind(&self, days: i32) -> Option<i32> {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
        let day = epoch.checked_add_signed(TimeDelta::try_days(i64::from(days))?)?;
        let behind = self.days_behind(day)?;
        i32::try_from(behind.signed_duration_since(epoch).num_days()).ok()
    }

    fn days_behind(&self, day: NaiveDate) -> Option<NaiveDate> {
        match self.width {
            Width::Seconds(_) => day.checked_add_days(Days::new(1)),
            Width::Days(count) => day.checked_add_days(Days::new(count.into())),
            Width::Weeks(count) => day.checked_add_days(Days::new(u64::from(count) * 7)),
            Width::Months(count) => day.checked_add_months(Months::new(count)),
        }
    }

    /// The first instant at or after `local` on the zone's clock.
    fn to_utc(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        // A gap of a clock change is at most a day (a zone that crossed the date line).
        (0..=96).find_map(|quarter| {
            let shifted = local.checked_add_signed(TimeDelta::minutes(15 * quarter))?;
            self.zone.from_local_datetime(&shifted).earliest().map(|at| at.to_utc())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(at: &str, width: &str, zone: &str) -> String {
        let function = TimeBucket {
            signature: Signature::any(1, Volatility::Immutable),
            width: width.parse().unwrap(),
            zone: timezone(zone).unwrap(),
        };
        let at: DateTime<Utc> = at.parse().unwrap();
        let micros = function.instant(at.timestamp_micros()).unwrap();
        DateTime::from_timestamp_micros(micros)
            .unwrap()
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    #[test]
    fn days_follow_the_local_calendar_through_clock_changes() {
        let berlin = "Europe/Berlin";
        assert_eq!(cut("2026-03-29T21:59:00Z", "1d", berlin), "2026-03-28T23:00:00Z");
        assert_eq!(cut("2026-03-29T22:00:00Z", "1d", berlin), "2026-03-29T22:00:00Z");
        assert_eq!(cut("2026-10-25T22:59:00Z", "1d", berlin), "2026-10-24T22:00:00Z");
        // In Santiago the clock jumps at midnight: that day begins at 01:00.
        assert_eq!(cut("2026-09-06T12:00:00Z", "1d", "America/Santiago"), "2026-09-06T04:00:00Z");
    }

    #[test]
    fn the_bucket_behind_one_is_the_next_that_an_instant_falls_into() {
        for zone in
            ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"]
        {
            for width in ["15m", "1h", "3h", "6h", "12h", "1d", "3d", "1w", "1mo", "1q"] {
                let cut = TimeBucket {
                    signature: Signature::any(1, Volatility::Immutable),
                    width: width.parse().unwrap(),
                    zone: timezone(zone).unwrap(),
                };
                // From before one clock change until behind the other.
                for begin in
                    ["2026-03-27T00:00:00Z", "2026-10-02T00:00:00Z", "2026-09-04T00:00:00Z"]
                {
                    let begin: DateTime<Utc> = begin.parse().unwrap();
                    let mut seen: Vec<i64> = (0..24 * 4 * 40)
                        .filter_map(|quarter| {
                            cut.instant(begin.timestamp_micros() + quarter * 900_000_000)
                        })
                        .collect();
                    // Where the clock is set back by half an hour, hours of before and after stand side by side.
                    seen.sort_unstable();
                    seen.dedup();
                    for pair in seen.windows(2) {
                        assert_eq!(
                            cut.instant_behind(pair[0]),
                            Some(pair[1]),
                            "{zone} {width} {pair:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_repeated_hour_is_two_buckets() {
        let berlin = "Europe/Berlin";
        assert_eq!(cut("2026-10-25T00:30:00Z", "1h", berlin), "2026-10-25T00:00:00Z");
        assert_eq!(cut("2026-10-25T01:30:00Z", "1h", berlin), "2026-10-25T01:00:00Z");
        assert_eq!(cut("2026-01-01T00:10:00Z", "1h", "Asia/Kolkata"), "2025-12-31T23:30:00Z");
    }

    #[test]
    fn longer_widths_count_from_fixed_origins() {
        assert_eq!(cut("2026-11-20T05:00:00Z", "1w", "UTC"), "2026-11-16T00:00:00Z");
        assert_eq!(cut("2026-11-20T05:00:00Z", "1q", "UTC"), "2026-10-01T00:00:00Z");
        assert_eq!(cut("2026-11-20T05:00:00Z", "1y", "UTC"), "2026-01-01T00:00:00Z");
        assert_eq!(cut("1969-12-31T05:00:00Z", "1mo", "UTC"), "1969-12-01T00:00:00Z");
        assert_eq!(cut("2026-11-20T05:59:59Z", "6h", "UTC"), "2026-11-20T00:00:00Z");
        assert_eq!(cut("2026-11-20T05:59:59Z", "24h", "UTC"), "2026-11-20T00:00:00Z");
    }

    #[test]
    fn widths_that_do_not_fit_a_day_are_refused() {
        for bad in ["", "h", "0h", "7h", "25h", "1x", "-1h", "1.5h", "99999d", "1 h"] {
            assert!(bad.parse::<Width>().is_err(), "{bad:?}");
        }
        assert!(timezone("Europe/Nowhere").is_err());
    }

    #[test]
    fn the_shortcut_gives_what_the_long_way_gives() {
        let function = TimeBucket {
            signature: Signature::any(1, Volatility::Immutable),
            width: "1h".parse().unwrap(),
            zone: timezone("Europe/Berlin").unwrap(),
        };
        let mut recent = Recent::default();
        for minutes in [0i64, 5, 59, 60, 61, 3, 0, 119, -1, 1_000, 999, 1_000] {
            let at = minutes * 60_000_000 + 1_770_000_000_000_000;
            assert_eq!(recent.get(at, || function.instant(at)), function.instant(at));
        }
    }
}
