//! What is due, what is missed, and that no tick is lost or run twice.

use std::time::Instant;

use chrono::{DateTime, Duration, TimeDelta, Utc};

use super::super::{CatchUp, Due, Missed, RUN_MAX, due, jitter};
use super::{Random, at, cron};

fn minutes(minutes: i64) -> Duration {
    Duration::minutes(minutes)
}

#[test]
fn a_tick_within_the_grace_runs_whatever_the_catch_up() {
    let hourly = cron("@hourly", "UTC");
    let last = at("2026-05-05T12:00:00Z");
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        let found = due(&hourly, last, at("2026-05-05T13:05:00Z"), catch_up, minutes(5));
        assert_eq!(found.run.len(), 1, "{catch_up}");
        assert_eq!(found.missed, Missed::default());
        assert_eq!(found.up_to, at("2026-05-05T13:05:00Z"));
    }
    let late = due(&hourly, last, at("2026-05-05T13:05:01Z"), CatchUp::None, minutes(5));
    assert_eq!((late.run.len(), late.missed.count), (0, 1));
}

#[test]
fn late_ticks_go_by_the_catch_up() {
    let hourly = cron("@hourly", "UTC");
    let (last, now) = (at("2026-05-05T12:00:00Z"), at("2026-05-05T20:02:00Z"));
    let look = |catch_up| {
        let found = due(&hourly, last, now, catch_up, minutes(5));
        assert_eq!(found.up_to, now);
        let run: Vec<i64> = found.run.iter().map(|tick| (tick.due - last).num_hours()).collect();
        (run, found.missed)
    };
    let (run, missed) = look(CatchUp::None);
    assert_eq!((run, missed.count), (vec![8], 7));
    assert_eq!(missed.first.unwrap().due, at("2026-05-05T13:00:00Z"));
    assert_eq!(missed.last.unwrap().due, at("2026-05-05T19:00:00Z"));
    let (run, missed) = look(CatchUp::Latest);
    assert_eq!((run, missed.count), (vec![7, 8], 6));
    assert_eq!(missed.last.unwrap().due, at("2026-05-05T18:00:00Z"));
    let (run, missed) = look(CatchUp::All);
    assert_eq!((run, missed.count), ((1..=8).collect(), 0));
    let without = due(&hourly, last, at("2026-05-05T20:30:00Z"), CatchUp::Latest, minutes(5));
    assert_eq!((without.run.len(), without.missed.count), (1, 7));
}

#[test]
fn a_clock_that_jumps_back_gives_nothing_and_moves_nothing() {
    let hourly = cron("@hourly", "UTC");
    let last = at("2026-05-05T12:00:00Z");
    for now in ["2026-05-05T12:00:00Z", "2026-05-05T09:30:00Z", "1999-01-01T00:00:00Z"] {
        let found = due(&hourly, last, at(now), CatchUp::All, minutes(60));
        assert_eq!(found, Due { run: vec![], missed: Missed::default(), up_to: last });
    }
}

#[test]
fn catching_up_stops_at_the_bound_and_goes_on_from_there() {
    let minute = cron("* * * * *", "Europe/Berlin");
    let (mut last, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T18:00:00Z"));
    let mut run = Vec::new();
    let mut calls = 0;
    while last < now {
        let found = due(&minute, last, now, CatchUp::All, minutes(0));
        assert!(found.run.len() <= RUN_MAX && found.up_to > last);
        run.extend(found.run);
        last = found.up_to;
        calls += 1;
    }
    assert_eq!((run.len(), calls), (42 * 60, 3));
    assert_eq!(run, minute.between(at("2026-01-01T00:00:00Z"), now, 10_000));
}

#[test]
fn latest_runs_one_tick_even_over_several_calls() {
    let minute = cron("* * * * *", "UTC");
    let (mut last, now) = (at("2020-01-01T00:00:00Z"), at("2024-01-01T00:00:30Z"));
    let (mut run, mut missed, mut calls) = (Vec::new(), 0, 0);
    while last < now {
        let started = Instant::now();
        let found = due(&minute, last, now, CatchUp::Latest, minutes(0));
        println!("latest: {} missed in {:.1?}", found.missed.count, started.elapsed());
        run.extend(found.run);
        missed += found.missed.count;
        last = found.up_to;
        calls += 1;
    }
    assert_eq!(run.len(), 1);
    assert_eq!(run[0].due, at("2024-01-01T00:00:00Z"));
    assert_eq!((missed, calls), (1_461 * 1_440 - 1, 3));
}

#[test]
fn each_tick_of_two_years_runs_once_over_200_restarts() {
    let seed = match std::env::var("WHEN_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Utc::now().timestamp_millis() as u64,
    };
    println!("seed: {seed} (WHEN_SEED sets it)");
    let mut random = Random(seed);
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
    let zones = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"];
    for zone in zones {
        for line in ["*/15 * * * *", "7 1-3 * * *", "30 2 * * *", "0 0 1,15 * 1"] {
            let cron = cron(line, zone);
            let mut stops: Vec<DateTime<Utc>> = (0..200)
                .map(|_| {
                    from + TimeDelta::milliseconds(random.below((to - from).num_milliseconds()))
                })
                .chain([to])
                .collect();
            stops.sort_unstable();
            let mut last = from;
            let mut run = Vec::new();
            for now in stops {
                loop {
                    let found = due(&cron, last, now, CatchUp::All, minutes(1));
                    assert_eq!(found.missed.count, 0);
                    run.extend(found.run);
                    last = found.up_to;
                    if last == now {
                        break;
                    }
                }
                // The clock may step back in between.
                let back = now - TimeDelta::seconds(random.below(7_200));
                assert_eq!(due(&cron, last, back, CatchUp::All, minutes(1)).up_to, last);
            }
            assert_eq!(run, cron.between(from, to, 1_000_000), "{cron}, seed {seed}");
        }
    }
}

#[test]
fn jitter_is_the_same_each_time_and_spread_evenly() {
    let max = Duration::seconds(60);
    let of = |id: &str, logical: &str| jitter(id, logical, max);
    assert_eq!(of("s1", "2026-01-01T00:00:00+00:00"), of("s1", "2026-01-01T00:00:00+00:00"));
    assert_ne!(of("s1", "2026-01-01T00:00:00+00:00"), of("s2", "2026-01-01T00:00:00+00:00"));
    assert_ne!(of("ab", "c"), of("a", "bc"));
    assert_eq!(jitter("s", "t", Duration::zero()), Duration::zero());
    assert_eq!(jitter("s", "t", Duration::seconds(-5)), Duration::zero());
    let mut tenths = [0_i64; 10];
    for n in 0..10_000 {
        let found = of(&format!("s{n}"), "2026-01-01T00:00:00+00:00");
        assert!(found >= Duration::zero() && found < max);
        tenths[(found.num_milliseconds() / 6_000) as usize] += 1;
    }
    // Chi-squared with 9 degrees of freedom: 27.9 is passed once in a thousand.
    let chi: f64 = tenths.iter().map(|n| ((n - 1_000) * (n - 1_000)) as f64 / 1_000.0).sum();
    assert!(chi < 27.9, "{tenths:?}: {chi}");
}

#[test]
fn catch_up_is_read_and_written_as_a_word() {
    for word in ["none", "latest", "all"] {
        assert_eq!(word.parse::<CatchUp>().unwrap().to_string(), word);
    }
    let error = "newest".parse::<CatchUp>().unwrap_err().to_string();
    assert_eq!(error, "catch-up: expected none, latest or all, found \"newest\"");
}
