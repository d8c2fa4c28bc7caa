//! Cutting time into intervals: `every: {column: AT, width: "1h", timezone: …}`.
//!
//! A bucket is named by the instant at which it begins. Fixed lengths, such as hours, are always equally
//! long, and are counted from midnight of the zone's standard time. Days and longer follow the calendar
//! of the zone, so a day may have 23 or 25 hours.

use std::sync::Arc;

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Date32Builder, ListBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{Result as PlanResult, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use engine::Result;

use crate::error::bad_input;

const DAY_US: i64 = 86_400_000_000;

/// The length of a bucket that a request states.
pub(crate) fn width(text: &str) -> Result<Interval> {
    let shown: String = text.chars().take(40).collect();
    let wrong = |problem| bad_input(format!("every.width: {problem}"));
    shown.parse().map_err(wrong)
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
pub(crate) fn bucket(column: Expr, width: Interval, zone: Tz) -> Expr {
    ScalarUDF::new_from_impl(TimeBucket::new(width, zone)).call(vec![column])
}

/// Buckets between two that a group has, at most.
const GAP_MAX: usize = 10_000;
/// The same of the groups that are looked at together.
const GAPS_MAX: usize = 1 << 20;

/// The buckets from the one that begins at `from` on until that at `until`, which is not among them; the first alone where there is
/// no `until`.
pub(crate) fn buckets_between(from: Expr, until: Expr, width: Interval, zone: Tz) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    let cut = TimeBucket::new(width, zone);
    ScalarUDF::new_from_impl(Between { signature, cut }).call(vec![from, until])
}

/// The begin of the bucket behind the one that begins at `from`.
pub(crate) fn bucket_behind(from: Expr, width: Interval, zone: Tz) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let cut = TimeBucket::new(width, zone);
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
    /// Of instants.
    grid: Grid,
    /// Of dates, as instants of UTC.
    dates: Grid,
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
                let mut begins = self.grid.begins();
                let cut: TimestampMicrosecondArray = instants
                    .iter()
                    .map(|at| at.and_then(|at| represented(begins.of(at))))
                    .collect();
                Arc::new(cut.with_timezone("UTC"))
            }
        };
        Ok(ColumnarValue::Array(cut))
    }
}

impl TimeBucket {
    fn new(width: Interval, zone: Tz) -> Self {
        let grid = |zone: Tz| {
            Grid::stated(width, Zone(zone), &Holidays::default(), -standard_offset_us(zone))
        };
        let signature = Signature::any(1, Volatility::Immutable);
        Self { signature, grid: grid(zone), dates: grid(Tz::UTC) }
    }

    fn day(&self, days: i32) -> Option<i32> {
        self.date(|grid, at_us| grid.begin(at_us), days)
    }

    fn date(&self, of: impl Fn(&Grid, i64) -> i64, days: i32) -> Option<i32> {
        let begin = represented(of(&self.dates, i64::from(days) * DAY_US))?;
        i32::try_from(begin.div_euclid(DAY_US)).ok()
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

    /// The begin of the bucket after the one that begins then.
    fn instant_behind(&self, micros: i64) -> Option<i64> {
        represented(self.grid.end(micros))
    }

    /// The same of days.
    fn day_behind(&self, days: i32) -> Option<i32> {
        self.date(|grid, at_us| grid.end(at_us), days)
    }
}

fn represented(micros: i64) -> Option<i64> {
    DateTime::from_timestamp_micros(micros).map(|_| micros)
}

/// What the zone's clocks are ahead of UTC by, without daylight saving.
fn standard_offset_us(zone: Tz) -> i64 {
    // The first days of January and of July 2026.
    let offsets = [1_767_225_600, 1_782_864_000].map(|seconds| {
        let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
    });
    i64::from(offsets.into_iter().min().unwrap_or_default()) * 1_000_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::Utc;

    use super::*;

    /// The begin of the bucket of an instant.
    fn instant(bucket: &TimeBucket, micros: i64) -> Option<i64> {
        represented(bucket.grid.begin(micros))
    }

    fn cut(at: &str, width: &str, zone: &str) -> String {
        let function = TimeBucket::new(width.parse().unwrap(), timezone(zone).unwrap());
        let at: DateTime<Utc> = at.parse().unwrap();
        let micros = instant(&function, at.timestamp_micros()).unwrap();
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
                let cut = TimeBucket::new(width.parse().unwrap(), timezone(zone).unwrap());
                // From before one clock change until behind the other.
                for begin in
                    ["2026-03-27T00:00:00Z", "2026-10-02T00:00:00Z", "2026-09-04T00:00:00Z"]
                {
                    let begin: DateTime<Utc> = begin.parse().unwrap();
                    let mut seen: Vec<i64> = (0..24 * 4 * 40)
                        .filter_map(|quarter| {
                            instant(&cut, begin.timestamp_micros() + quarter * 900_000_000)
                        })
                        .collect();
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
    fn fixed_widths_are_equally_long_on_the_day_of_a_clock_change() {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            for (text, minutes) in [("6h", 360), ("90m", 90), ("4h", 240), ("7h", 420)] {
                let cut = TimeBucket::new(width(text).unwrap(), timezone(zone).unwrap());
                for begin in
                    ["2026-03-07T00:00:00Z", "2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z"]
                {
                    let begin: DateTime<Utc> = begin.parse().unwrap();
                    let mut at = instant(&cut, begin.timestamp_micros()).unwrap();
                    for _ in 0..100 {
                        let next = cut.instant_behind(at).unwrap();
                        assert_eq!(next - at, minutes * 60_000_000, "{zone} {text}");
                        at = next;
                    }
                }
            }
        }
        // In winter they begin at local midnight.
        assert_eq!(cut("2026-01-15T00:30:00Z", "6h", "Europe/Berlin"), "2026-01-14T23:00:00Z");
        assert_eq!(cut("2026-07-15T00:30:00Z", "6h", "Europe/Berlin"), "2026-07-14T23:00:00Z");
    }

    #[test]
    fn what_is_no_width_is_refused() {
        for bad in ["", "h", "0h", "1x", "-1h", "1.5h", "999999d", "1 h"] {
            let message = width(bad).unwrap_err().to_string();
            assert!(message.contains("every.width: expected a length of time"), "{message}");
        }
        assert!(timezone("Europe/Nowhere").is_err());
    }

    #[test]
    fn the_shortcut_gives_what_the_long_way_gives() {
        let function = TimeBucket::new("1h".parse().unwrap(), timezone("Europe/Berlin").unwrap());
        let mut begins = function.grid.begins();
        for minutes in [0i64, 5, 59, 60, 61, 3, 0, 119, -1, 1_000, 999, 1_000] {
            let at = minutes * 60_000_000 + 1_770_000_000_000_000;
            assert_eq!(Some(begins.of(at)), instant(&function, at));
        }
    }
}
