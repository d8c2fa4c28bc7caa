//! The walk against a slow count, from anywhere, and against the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::super::zone;
use super::{Random, at, cron};

/// Lines around the hours of clock changes, of both kinds.
const LINES: [&str; 12] = [
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "*/20 1-3 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "30 23 * * *",
    "1,31 0-4 * * *",
    "15,45 1-3,22-23 * * 0,6",
    "0 0 1,15 * 1",
    "59 23 L * *",
    "0-59/7 0,2,3 * * +0",
];

const ZONES: [(&str, &str); 17] = [
    ("UTC", "2026-01-01"),
    ("Europe/Berlin", "2026-02-01"),
    ("Europe/Berlin", "2026-09-10"),
    ("America/New_York", "2026-02-10"),
    ("America/New_York", "2026-10-01"),
    ("Australia/Lord_Howe", "2026-03-01"),
    ("Australia/Lord_Howe", "2026-09-01"),
    ("Asia/Kathmandu", "1985-12-01"),
    ("Africa/Casablanca", "2026-02-01"),
    ("Pacific/Apia", "2011-12-01"),
    ("America/Sao_Paulo", "2018-01-20"),
    ("America/Sao_Paulo", "2018-10-20"),
    ("Asia/Beirut", "2024-10-01"),
    // Back at one minute past midnight, so that a new day begins twice.
    ("America/St_Johns", "2010-10-20"),
    ("America/Nuuk", "2026-03-01"),
    // Both skip or repeat oddly: two hours, and the date line.
    ("Antarctica/Troll", "2026-03-01"),
    ("Pacific/Kwajalein", "1993-08-01"),
];

/// What the rules say, minute by minute of the local calendar: slow and obviously right.
fn reference(line: &str, zone: &str, first: NaiveDate, days: i64) -> BTreeMap<i64, String> {
    let tz: Tz = zone.parse().unwrap();
    let parsed: croner::Cron = line.parse().unwrap();
    let interval = line.split(' ').take(2).any(|field| field.starts_with('*'));
    let mut named = BTreeMap::new();
    let mut skipped = BTreeMap::new();
    let start = first.and_hms_opt(0, 0, 0).unwrap();
    for minute in 0..days * 1_440 {
        let time: NaiveDateTime = start + TimeDelta::minutes(minute);
        if !parsed.is_time_matching(&time).unwrap() {
            continue;
        }
        let mut tell = |at: DateTime<Tz>| named.insert(at.timestamp(), at.to_rfc3339());
        match tz.from_local_datetime(&time) {
            MappedLocalTime::Single(one) => drop(tell(one)),
            MappedLocalTime::Ambiguous(one, other) if interval => {
                tell(one);
                tell(other);
            }
            MappedLocalTime::Ambiguous(one, other) => drop(tell(one.min(other))),
            MappedLocalTime::None if interval => {}
            MappedLocalTime::None => {
                let step = |by: i64| {
                    (1..)
                        .map(|n| time + TimeDelta::minutes(n * by))
                        .find_map(|time| tz.from_local_datetime(&time).earliest())
                        .unwrap()
                };
                let before = step(-1).fixed_offset().timezone();
                let scheduled = time.and_local_timezone(before).unwrap().to_rfc3339();
                skipped.entry(step(1).timestamp()).or_insert(scheduled);
            }
        }
    }
    skipped.append(&mut named);
    skipped
}

#[test]
fn the_walk_agrees_with_a_count_minute_by_minute() {
    const DAYS: i64 = 60;
    for (zone, first) in ZONES {
        let first: NaiveDate = first.parse().unwrap();
        for line in LINES {
            // One day more on either side, for what moves over the ends.
            let all = reference(line, zone, first - TimeDelta::days(2), DAYS + 4);
            let from = first.and_hms_opt(0, 0, 0).unwrap().and_utc();
            let to = from + TimeDelta::days(DAYS);
            let expected: Vec<(i64, String)> = all
                .into_iter()
                .filter(|(at, _)| (from.timestamp() + 1..=to.timestamp()).contains(at))
                .collect();
            let cron = cron(line, zone);
            let found: Vec<(i64, String)> = cron
                .between(from, to, 1_000_000)
                .into_iter()
                .map(|tick| (tick.due.timestamp(), tick.logical))
                .collect();
            assert_eq!(found, expected, "{line} in {zone} from {first}");
            let names: BTreeSet<&String> = found.iter().map(|(_, name)| name).collect();
            assert_eq!(names.len(), found.len(), "{line} in {zone}: names are unique");
        }
    }
}

#[test]
fn a_tick_is_the_same_from_wherever_one_counts() {
    let mut random = Random(7);
    for (zone, first) in ZONES {
        let from = format!("{first}T00:00:00Z").parse::<DateTime<Utc>>().unwrap();
        for line in LINES {
            let cron = cron(line, zone);
            let all = cron.between(from, from + TimeDelta::days(60), 1_000_000);
            for _ in 0..200 {
                let after = from + TimeDelta::milliseconds(random.below(50 * 86_400_000));
                let expected = all.iter().find(|tick| tick.due > after);
                if let Some(expected) = expected {
                    assert_eq!(cron.next_after(after).as_ref(), Some(expected), "{cron} {after}");
                }
            }
        }
    }
}

#[test]
#[ignore = "measures; run it alone with --release --nocapture"]
fn two_years_of_minutes_in_four_zones_take_about_a_second() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
    for line in ["* * * * *", "0-59 0-23 * * *", "30 2 * * *", "0 9 * * 1-5"] {
        let zones = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"];
        let started = Instant::now();
        let mut count = 0;
        for zone in zones {
            count += cron(line, zone).between(from, to, 10_000_000).len();
        }
        println!("{line}: {count} ticks in {:.1?}, by between", started.elapsed());
        let started = Instant::now();
        let cron = cron(line, "Europe/Berlin");
        let (mut at, mut steps) = (from, 0);
        while let Some(tick) = cron.next_after(at).filter(|tick| tick.due <= to && steps < 100_000)
        {
            at = tick.due;
            steps += 1;
        }
        println!("{line}: {steps} steps of next_after in {:.1?}", started.elapsed());
        let started = Instant::now();
        let parsed: croner::Cron = line.parse().unwrap();
        let begin = from.with_timezone(&chrono_tz::Europe::Berlin);
        let found = parsed.iter_after(begin).take_while(|at| *at <= to).take(100_000).count();
        println!("{line}: {found} ticks of croner in {:.1?}", started.elapsed());
    }
    let started = Instant::now();
    let leap = cron("0 0 29 2 +1", "Europe/Berlin");
    let made = started.elapsed();
    let next = leap.next_after(at("2072-03-01T00:00:00Z"));
    println!("{leap}: made in {made:.1?}, next in {:.1?}", started.elapsed() - made);
    assert!(next.is_some());
}

#[test]
#[ignore = "asks all zones for each hour of 130 years: half a minute with --release"]
fn no_zone_changes_twice_within_the_window_of_the_walk() {
    let hours = |year: &str| at(&format!("{year}-01-01T00:00:00Z")).timestamp() / 3_600;
    let mut least = (i64::MAX, "");
    for tz in chrono_tz::TZ_VARIANTS {
        let (mut offset, mut changed) = (None, i64::MIN / 2);
        for hour in hours("1970")..hours("2100") {
            let found = zone::offset_seconds(tz, hour * 3_600);
            if offset.replace(found).is_some_and(|before| before != found) {
                least = least.min((hour - changed, tz.name()));
                changed = hour;
            }
        }
    }
    println!("nearest two changes: {} hours, in {}", least.0, least.1);
    assert!(least.0 > 26);
}
