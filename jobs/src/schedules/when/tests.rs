#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Instant;

use chrono::{DateTime, MappedLocalTime, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::*;

mod catching_up;
mod reference;

fn cron(line: &str, zone: &str) -> Cron {
    Cron::new(line, zone).unwrap()
}

fn refused(line: &str) -> String {
    Cron::new(line, "UTC").unwrap_err().to_string()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The ticks of the local days from `from` up to, not with, `to`, as due time on the local clock.
fn local(line: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let tz: Tz = zone.parse().unwrap();
    ticks(line, zone, from, to)
        .into_iter()
        .map(|tick| tick.due.with_timezone(&tz).format("%d %H:%M%:z").to_string())
        .collect()
}

fn logical(line: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    ticks(line, zone, from, to).into_iter().map(|tick| tick.logical).collect()
}

fn ticks(line: &str, zone: &str, from: &str, to: &str) -> Vec<Tick> {
    let tz: Tz = zone.parse().unwrap();
    let day = |text: &str| {
        let mut naive = text.parse::<NaiveDate>().unwrap().and_hms_opt(0, 0, 0).unwrap();
        loop {
            match tz.from_local_datetime(&naive) {
                MappedLocalTime::None => naive += TimeDelta::minutes(1),
                found => return found.earliest().unwrap().to_utc() - TimeDelta::seconds(1),
            }
        }
    };
    cron(line, zone).between(day(from), day(to), 100_000)
}

#[test]
fn six_fields_are_refused_and_the_message_says_why() {
    let message = refused("0 0 9 * * 1");
    assert!(message.contains("expected 5 fields"), "{message}");
    assert!(message.contains("found 6 fields"), "{message}");
    assert!(message.contains("seconds cannot be given"), "{message}");
    assert!(refused("0 9 * *").contains("found 4 fields"));
    assert!(refused("").contains("found nothing"));
    assert!(refused("@reboot").contains("@hourly, @daily, @weekly, @monthly, @yearly"));
    assert!(refused("@dayly").contains("found another word in \"@dayly\""));
    assert!(refused(&"1,".repeat(129)).contains("at most 256 bytes, found 258"));
}

#[test]
fn a_wrong_field_is_named_with_the_part_that_is_wrong() {
    for (line, field, part) in [
        ("60 * * * *", "minute", "60"),
        ("1,,2 * * * *", "minute", ""),
        ("MON * * * *", "minute", "MON"),
        ("*/0 * * * *", "minute", "*/0"),
        ("*/90 * * * *", "minute", "*/90"),
        ("5/15 * * * *", "minute", "5/15"),
        ("*,5 * * * *", "minute", "*"),
        ("0 24 * * *", "hour", "24"),
        ("0 8-x * * *", "hour", "8-X"),
        ("0 ? * * *", "hour", "?"),
        ("0 0 0 * *", "day of month", "0"),
        ("0 0 L,LW * *", "day of month", "L,LW"),
        ("0 0 * 13 *", "month", "13"),
        ("0 0 * 1JAN *", "month", "1JAN"),
        ("0 0 * MON *", "month", "MON"),
        ("0 0 * * 8", "day of week", "8"),
        ("0 0 * * L", "day of week", "L"),
        ("0 0 * * MON#6", "day of week", "MON#6"),
        ("0 0 * * SUN-SUN", "day of week", "SUN-SUN"),
        ("0 0 * * MONDAY", "day of week", "MONDAY"),
        ("0 0 * * ſun", "day of week", "ſUN"),
    ] {
        let error = Cron::new(line, "UTC").unwrap_err();
        let WhenError::Field { field: named, found, .. } = &error else {
            panic!("{line}: {error}");
        };
        assert_eq!((*named, found.as_str()), (field, part), "{line}: {error}");
    }
    assert_eq!(
        refused("0 24 * * *"),
        "cron line: hour: expected 0 to 23 as *, */n, a, a-b, a-b/n or a list of such, n at most \
         24, found \"24\""
    );
}

#[test]
fn names_steps_lists_and_short_words_are_read() {
    let same = |one: &str, other: &str| {
        let after = at("2026-01-01T00:00:00Z");
        let of = |line| next_times(&cron(line, "Europe/Berlin"), after, 50);
        assert_eq!(of(one), of(other), "{one} and {other}");
    };
    same("@hourly", "0 * * * *");
    same("@Daily", "0 0 * * *");
    same("@weekly", "0 0 * * sun");
    same("@monthly", "0 0 1 * *");
    same("@yearly", "0 0 1 jan ?");
    same("0 9 * * MON-FRI", " 0  9 *\t* 1,2,3,4,5 ");
    same("0 9 * * SAT-SUN", "0 9 * * 6,7");
    same("*/60 */24 * * *", "0 0 * * *");
    same("10-30/10 8 * * *", "10,20,30 8 * * *");
    same("0 9 * * 5L", "0 9 * * FRI#L");
}

#[test]
fn a_line_that_never_ticks_is_refused_when_it_is_made() {
    for line in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 29W 2 +0", "* * 31W * +SUN"] {
        let started = Instant::now();
        let message = refused(line);
        assert!(message.contains("never ticks"), "{message}");
        println!("{line}: refused in {:.1?}", started.elapsed());
    }
    // Either suffices, so the Mondays of February remain.
    assert!(Cron::new("0 0 30 2 1", "UTC").is_ok());
}

#[test]
fn a_leap_day_is_found_over_the_century_that_has_none() {
    let next = |line: &str, after: &str| cron(line, "UTC").next_after(at(after)).unwrap().logical;
    assert_eq!(next("0 0 29 2 *", "2096-03-01T00:00:00Z"), "2104-02-29T00:00:00+00:00");
    assert_eq!(next("0 0 29 2 +1", "2026-01-01T00:00:00Z"), "2044-02-29T00:00:00+00:00");
    // 40 years: 2100 is no leap year.
    assert_eq!(next("0 0 29 2 +1", "2072-03-01T00:00:00Z"), "2112-02-29T00:00:00+00:00");
    let or = cron("0 0 29 2 1", "UTC").next_after(at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(or.logical, "2026-02-02T00:00:00+00:00");
}

#[test]
fn day_of_month_and_day_of_week_match_either_and_with_a_plus_both() {
    assert_eq!(
        local("0 0 13 * 5", "UTC", "2026-02-01", "2026-03-01"),
        ["06 00:00+00:00", "13 00:00+00:00", "20 00:00+00:00", "27 00:00+00:00"]
    );
    assert_eq!(
        local("0 0 12 * 5", "UTC", "2026-02-10", "2026-02-15"),
        ["12 00:00+00:00", "13 00:00+00:00"]
    );
    assert_eq!(local("0 0 13 * +5", "UTC", "2026-02-01", "2026-03-01"), ["13 00:00+00:00"]);
    assert_eq!(local("0 0 L * *", "UTC", "2026-02-01", "2026-03-01"), ["28 00:00+00:00"]);
}

#[test]
fn an_unknown_zone_is_told_with_the_nearest_names() {
    let message = |zone| Cron::new("@daily", zone).unwrap_err().to_string();
    for (given, near) in [
        ("Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berlni", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Americas/New_York", "America/New_York"),
        ("kathmandu", "Asia/Kathmandu"),
        ("utc", "UTC"),
    ] {
        let message = message(given);
        let (_, names) =
            message.split_once("; near it are ").unwrap_or_else(|| panic!("{message}"));
        let names: Vec<&str> = names.split(", ").collect();
        assert!(names.len() <= 3 && names.contains(&near), "{message}");
    }
    assert_eq!(
        message("Mittelerde"),
        "time zone: expected an IANA name like \"Europe/Berlin\" or \"UTC\", found \"Mittelerde\""
    );
    assert!(message(&"x".repeat(5_000)).len() < 250);
}

#[test]
fn a_schedule_shows_its_line_and_zone() {
    let cron = cron(" 0 9  * * mon-fri ", "Europe/Berlin");
    assert_eq!(cron.to_string(), "0 9 * * mon-fri Europe/Berlin");
    assert_eq!((cron.line(), cron.zone()), ("0 9 * * mon-fri", "Europe/Berlin"));
}

#[test]
fn a_fixed_time_in_the_spring_gap_ticks_once_after_it() {
    let found = ticks("30 2 * * *", "Europe/Berlin", "2026-03-28", "2026-03-31");
    let dues: Vec<String> = found.iter().map(|tick| tick.due.to_rfc3339()).collect();
    assert_eq!(
        dues,
        ["2026-03-28T01:30:00+00:00", "2026-03-29T01:00:00+00:00", "2026-03-30T00:30:00+00:00"]
    );
    let names: Vec<&str> = found.iter().map(|tick| tick.logical.as_str()).collect();
    assert_eq!(
        names,
        ["2026-03-28T02:30:00+01:00", "2026-03-29T02:30:00+01:00", "2026-03-30T02:30:00+02:00"]
    );
}

#[test]
fn several_times_in_one_gap_are_one_tick() {
    assert_eq!(
        logical("0,15,30,45 2 * * *", "America/New_York", "2026-03-08", "2026-03-09"),
        ["2026-03-08T02:00:00-05:00"]
    );
    // 03:00 matches anyway, so the tick is that of 03:00.
    assert_eq!(
        logical("0,30 2-3 * * *", "America/New_York", "2026-03-08", "2026-03-09"),
        ["2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00"]
    );
    assert_eq!(
        local("30 2,14 * * *", "America/New_York", "2026-03-08", "2026-03-09"),
        ["08 03:00-04:00", "08 14:30-04:00"]
    );
}

#[test]
fn a_fixed_time_that_comes_twice_ticks_the_first_time() {
    assert_eq!(
        logical("30 1 * * *", "America/New_York", "2026-10-31", "2026-11-03"),
        ["2026-10-31T01:30:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
    );
    assert_eq!(
        local("0 1-3 * * *", "America/New_York", "2026-11-01", "2026-11-02"),
        ["01 01:00-04:00", "01 02:00-05:00", "01 03:00-05:00"]
    );
    // Asked between the two, the second is not due.
    let next = cron("30 1 * * *", "America/New_York").next_after(at("2026-11-01T06:00:00Z"));
    assert_eq!(next.unwrap().logical, "2026-11-02T01:30:00-05:00");
}

#[test]
fn intervals_go_on_in_real_time_through_gap_and_overlap() {
    assert_eq!(
        logical("0 * * * *", "Europe/Berlin", "2026-10-25", "2026-10-26")[1..5],
        [
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00"
        ]
    );
    assert_eq!(
        local("*/30 * * * *", "Europe/Berlin", "2026-03-29", "2026-03-30")[2..6],
        ["29 01:00+01:00", "29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]
    );
    for (day, count) in [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)] {
        let next = day.parse::<NaiveDate>().unwrap().succ_opt().unwrap().to_string();
        let minutes = ticks("* * * * *", "Europe/Berlin", day, &next);
        assert_eq!(minutes.len(), count * 60);
        assert!(minutes.windows(2).all(|pair| pair[1].due - pair[0].due == TimeDelta::minutes(1)));
    }
}

#[test]
fn a_star_at_the_begin_of_the_minute_or_hour_makes_an_interval() {
    let gap = |line| local(line, "America/New_York", "2026-03-08", "2026-03-09").len();
    let overlap = |line| local(line, "America/New_York", "2026-11-01", "2026-11-02").len();
    // As Vixie's MIN_STAR and HR_STAR: an interval has no tick in the gap and all in the overlap.
    assert_eq!((gap("*/15 2 * * *"), overlap("*/15 1 * * *")), (0, 8));
    assert_eq!((gap("0 */2 * * *"), overlap("30 */1 * * *")), (11, 25));
    // The same times without a star are fixed.
    assert_eq!((gap("0-59/15 2 * * *"), overlap("0-59/15 1 * * *")), (1, 4));
    assert_eq!((gap("0 0-23/2 * * *"), overlap("30 0-23 * * *")), (12, 24));
    assert_eq!((gap("0 2 * * *"), overlap("0,*/30 1 * * *")), (1, 2));
}

#[test]
fn lord_howe_shifts_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    assert_eq!(
        logical("45 1 * * *", zone, "2026-04-05", "2026-04-06"),
        ["2026-04-05T01:45:00+11:00"]
    );
    assert_eq!(
        local("*/15 * * * *", zone, "2026-04-05", "2026-04-06")[5..10],
        ["05 01:15+11:00", "05 01:30+11:00", "05 01:45+11:00", "05 01:30+10:30", "05 01:45+10:30"]
    );
    assert_eq!(local("15 2 * * *", zone, "2026-10-04", "2026-10-05"), ["04 02:30+11:00"]);
    assert_eq!(local("15,30 2 * * *", zone, "2026-10-04", "2026-10-05"), ["04 02:30+11:00"]);
    assert_eq!(local("45 2 * * *", zone, "2026-10-04", "2026-10-05"), ["04 02:45+11:00"]);
}

#[test]
fn kathmandu_is_three_quarters_of_an_hour_off() {
    let tick = cron("0 6 * * *", "Asia/Kathmandu").next_after(at("2026-06-01T00:15:00Z")).unwrap();
    assert_eq!(tick.due, at("2026-06-02T00:15:00Z"));
    assert_eq!(tick.logical, "2026-06-02T06:00:00+05:45");
    // 1986 began there with a gap of a quarter of an hour.
    assert_eq!(
        logical("5 0 * * *", "Asia/Kathmandu", "1985-12-31", "1986-01-02"),
        ["1985-12-31T00:05:00+05:30", "1986-01-01T00:05:00+05:30"]
    );
}

#[test]
fn casablanca_turns_back_for_ramadan() {
    let zone = "Africa/Casablanca";
    assert_eq!(
        local("30 2 * * *", zone, "2026-02-14", "2026-02-17"),
        ["14 02:30+01:00", "15 02:30+01:00", "16 02:30+00:00"]
    );
    assert_eq!(
        local("30 2 * * *", zone, "2026-03-21", "2026-03-24"),
        ["21 02:30+00:00", "22 03:00+01:00", "23 02:30+01:00"]
    );
}

#[test]
fn apia_skipped_a_day() {
    let zone = "Pacific/Apia";
    assert_eq!(
        logical("0 9 * * *", zone, "2011-12-29", "2012-01-01"),
        ["2011-12-29T09:00:00-10:00", "2011-12-30T09:00:00-10:00", "2011-12-31T09:00:00+14:00"]
    );
    assert_eq!(
        local("0 9 * * *", zone, "2011-12-29", "2012-01-01"),
        ["29 09:00-10:00", "31 00:00+14:00", "31 09:00+14:00"]
    );
    // The midnight of the 30th falls onto that of the 31st.
    assert_eq!(
        local("0 0 * * *", zone, "2011-12-29", "2012-01-01"),
        ["29 00:00-10:00", "31 00:00+14:00"]
    );
    assert_eq!(local("0 9 30 12 *", zone, "2011-12-01", "2012-12-01"), ["31 00:00+14:00"]);
    assert_eq!(local("0 * * * *", zone, "2011-12-29", "2012-01-01").len(), 48);
}

#[test]
fn zones_that_shift_at_midnight_keep_their_days() {
    // Midnight itself is skipped.
    assert_eq!(
        local("0 0 * * *", "America/Sao_Paulo", "2018-11-03", "2018-11-06"),
        ["03 00:00-03:00", "04 01:00-02:00", "05 00:00-02:00"]
    );
    assert_eq!(
        local("0 0 * * *", "Asia/Beirut", "2024-03-30", "2024-04-02"),
        ["30 00:00+02:00", "31 01:00+03:00", "01 00:00+03:00"]
    );
    // The last hour of the day before comes twice.
    assert_eq!(
        local("30 23 * * *", "America/Sao_Paulo", "2018-02-16", "2018-02-19"),
        ["16 23:30-02:00", "17 23:30-02:00", "18 23:30-03:00"]
    );
    assert_eq!(
        local("0 0 * * *", "Asia/Beirut", "2024-10-26", "2024-10-29"),
        ["26 00:00+03:00", "27 00:00+02:00", "28 00:00+02:00"]
    );
    assert_eq!(
        local("0 */1 * * *", "Asia/Beirut", "2024-10-26", "2024-10-28")[22..26],
        ["26 22:00+03:00", "26 23:00+03:00", "26 23:00+02:00", "27 00:00+02:00"]
    );
}

#[test]
fn a_time_skipped_at_the_end_of_a_day_ticks_as_the_next_day_begins() {
    // Nuuk goes from Saturday 23:00 to Sunday 00:00.
    assert_eq!(
        ticks("30 23 * * 6", "America/Nuuk", "2026-03-28", "2026-03-30"),
        [Tick { due: at("2026-03-29T01:00:00Z"), logical: "2026-03-28T23:30:00-02:00".into() }]
    );
    assert_eq!(
        local("30 23 * * 0", "America/Nuuk", "2026-03-28", "2026-03-30"),
        ["29 23:30-01:00"]
    );
}

#[test]
fn next_after_is_strictly_after_and_ends_with_the_calendar() {
    let cron = cron("0 12 * * *", "UTC");
    let noon = at("2026-05-05T12:00:00Z");
    assert_eq!(cron.next_after(noon).unwrap().due, noon + TimeDelta::days(1));
    assert_eq!(cron.next_after(noon - TimeDelta::milliseconds(1)).unwrap().due, noon);
    assert_eq!(
        cron.next_after(noon + TimeDelta::milliseconds(1)).unwrap().due,
        noon + TimeDelta::days(1)
    );
    assert_eq!(cron.next_after(DateTime::<Utc>::MAX_UTC), None);
    assert!(cron.next_after(DateTime::<Utc>::MIN_UTC).is_some());
    assert_eq!(cron.between(noon, noon + TimeDelta::days(3), 2).len(), 2);
    assert_eq!(cron.between(noon, noon + TimeDelta::days(3), 9).len(), 3, "until is inclusive");
    assert!(cron.between(noon, noon - TimeDelta::days(3), 9).is_empty());
    assert_eq!(next_times(&cron, noon, 1_000_000).len(), NEXT_TIMES_MAX);
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as i64
    }
}

#[test]
fn a_time_that_a_clock_skips_is_shown_as_the_clock_has_it() {
    let new_york = cron("30 2 * * *", "America/New_York");
    let at: DateTime<Utc> = "2027-03-14T07:00:00Z".parse().unwrap();
    assert_eq!(new_york.on_its_clock(at), "2027-03-14T03:00:00-04:00");
}

#[test]
fn a_reversed_range_is_refused_and_valid_ranges_are_suggested() {
    for (line, field, meant) in [
        ("30-10 * * * *", "minute", "write 30-59,0-10"),
        ("0 22-5 * * *", "hour", "write 22-23,0-5"),
        ("0 0 25-5 * *", "day of month", "write 25-31,1-5"),
        ("0 0 1 NOV-FEB *", "month", "write NOV-DEC,JAN-FEB"),
        ("0 0 * * FRI-MON", "day of week", "write FRI-SAT,SUN-MON"),
        ("0 0 * * 6-2", "day of week", "write 6,0-2"),
        ("50-10/5 * * * *", "minute", "write two ranges, such as 50-59,0-10"),
    ] {
        let says = refused(line);
        assert!(says.contains(field) && says.contains(meant), "{line}: {says}");
        assert!(says.contains("begins with its smaller end"), "{line}: {says}");
        if !line.contains('/') {
            let fixed = meant.trim_start_matches("write ");
            let found = line.split(' ').find(|part| part.contains('-')).unwrap();
            cron(&line.replace(found, fixed), "UTC");
        }
    }
    cron("0 0 * * FRI-SUN", "UTC");
    cron("0 0 * * 5-7", "UTC");
}
