use super::*;

const MINUTE: i64 = 60_000_000;

/// Events as case, activity, resource, start and end in minutes; a start below 0 is not told.
fn log(events: &[(&str, &str, &str, i64, i64)]) -> Log {
    let mut builder = Builder::default();
    for (case, activity, resource, start, end) in events {
        let start = (*start >= 0).then_some(start * MINUTE);
        let resource = (!resource.is_empty()).then_some(*resource);
        builder.push(case, activity, resource, start, end * MINUTE);
    }
    builder.finish()
}

fn name(log: &Log, activity: u32) -> &str {
    log.activities.text(activity)
}

fn ways(log: &Log) -> Vec<String> {
    let way = |way: &Variant| {
        let names: Vec<&str> = way.activities.iter().map(|of| name(log, *of)).collect();
        format!("{}: {}", names.join(" "), way.cases.len())
    };
    variants(log).iter().map(way).collect()
}

#[test]
fn events_are_in_the_order_of_their_ends_and_of_the_same_instant_as_they_came() {
    let log = log(&[
        ("2", "c", "", -1, 30),
        ("1", "b", "", -1, 20),
        ("2", "a", "", -1, 10),
        ("1", "z", "", -1, 20),
        ("2", "b", "", -1, 30),
        ("1", "a", "", 19, 19),
    ]);
    assert_eq!(ways(&log), ["a b z: 1", "a c b: 1"]);
    let cases: Vec<&str> = log.traces().map(|trace| log.cases.text(trace.case)).collect();
    assert_eq!((cases.as_slice(), log.len()), (["2", "1"].as_slice(), 6));
}

#[test]
fn what_follows_what_is_counted_and_timed() {
    let log = log(&[
        ("1", "a", "x", 0, 5),
        ("1", "b", "y", 15, 20),
        ("1", "b", "y", 20, 30),
        ("1", "a", "x", 40, 41),
        ("2", "a", "x", 0, 10),
        ("2", "b", "x", 8, 12),
        ("3", "b", "", 0, 1),
    ]);
    let graph = Graph::of(&log);
    let edges: Vec<_> = graph
        .edges
        .iter()
        .map(|edge| {
            let waits = edge.waiting.sum_us / i128::from(MINUTE);
            (
                name(&log, edge.from),
                name(&log, edge.to),
                edge.count,
                edge.cases,
                edge.overlaps,
                waits,
            )
        })
        .collect();
    // The second of case 2 began before the first had ended: nothing waits.
    assert_eq!(edges, [("a", "b", 2, 2, 1, 10), ("b", "a", 1, 1, 0, 10), ("b", "b", 1, 1, 0, 0)]);
    let of = |at: usize| &graph.activities[at];
    let counts = |of: &Activity| (of.count, of.cases, of.starts, of.ends, of.loops, of.returns);
    assert_eq!(counts(of(0)), (3, 2, 2, 1, 0, 1));
    assert_eq!(counts(of(1)), (4, 3, 1, 2, 1, 0));
    let working = of(0).working;
    assert_eq!((working.sum_us, working.median_us), (16 * 60_000_000, 5.0 * MINUTE as f64));
    let hands: Vec<_> = graph
        .hand_overs
        .iter()
        .map(|of| (log.resources.text(of.from), log.resources.text(of.to), of.count))
        .collect();
    assert_eq!(hands, [("x", "y", 1), ("y", "x", 1)]);
}

#[test]
fn variants_are_the_most_frequent_first_and_by_name_where_they_are_as_frequent() {
    let log = log(&[
        ("1", "b", "", -1, 0),
        ("2", "a", "", -1, 0),
        ("3", "a", "", -1, 0),
        ("3", "b", "", -1, 60),
        ("4", "a", "", -1, 5),
        ("4", "b", "", -1, 25),
    ]);
    assert_eq!(ways(&log), ["a b: 2", "a: 1", "b: 1"]);
    let ways = variants(&log);
    assert_eq!((ways[0].share, ways[0].covered, ways[2].covered), (0.5, 0.5, 1.0));
    let lasts = ways[0].lasts;
    assert_eq!((lasts.mean_us(), lasts.least_us), (40.0 * MINUTE as f64, 20 * MINUTE));
    // 95 % of the way between the two.
    assert!((lasts.p95_us - 58.0 * MINUTE as f64).abs() < 1.0);
}

#[test]
fn a_start_after_the_end_is_the_end_and_counted() {
    let mut builder = Builder::default();
    builder.push("1", "a", None, Some(10), 5);
    assert_eq!(builder.turned, 1);
    let log = builder.finish();
    let events: Vec<i64> =
        log.traces().flat_map(|of| of.events.iter().map(Event::working_us)).collect();
    assert_eq!(events, [0]);
}

#[test]
fn of_nothing_nothing_is_said() {
    let log = Builder::default().finish();
    assert!(log.is_empty() && variants(&log).is_empty());
    assert_eq!(Graph::of(&log), Graph::default());
    assert_eq!(Spans::of(&mut []), Spans::default());
}

/// Ways as letters, each as often as it is there, an hour from event to event.
fn of_ways(ways: &[&str]) -> Log {
    let mut builder = Builder::default();
    for (case, way) in ways.iter().enumerate() {
        for (at, activity) in way.chars().enumerate() {
            let end = 60 * MINUTE * at as i64;
            builder.push(&case.to_string(), &activity.to_string(), None, None, end);
        }
    }
    builder.finish()
}

fn tree(ways: &[&str]) -> String {
    let log = of_ways(ways);
    discover(&log).normal().named(&log.activities).to_string()
}

#[test]
fn models_are_discovered_by_cuts() {
    for (ways, expected) in [
        (&["a"][..], "'a'"),
        (&["ab", "ab"], "->( 'a', 'b' )"),
        (&["a", "b"], "X( 'a', 'b' )"),
        (&["ab", "ba"], "+( 'a', 'b' )"),
        (&["abc", "ac"], "->( 'a', X( tau, 'b' ), 'c' )"),
        // Two that are left out together alone.
        (&["abcd", "ad"], "->( 'a', X( tau, ->( 'b', 'c' ) ), 'd' )"),
        (&["ab", "abcab", "abcabcab"], "*( ->( 'a', 'b' ), 'c' )"),
        (&["a", "aba", "acaba"], "*( 'a', 'b', 'c' )"),
        (&["aa", "a"], "*( 'a', tau )"),
        (&["abc", "acb", "abcd"], "->( 'a', +( 'b', 'c' ), X( tau, 'd' ) )"),
        (&[], "tau"),
    ] {
        assert_eq!(tree(ways), expected, "{ways:?}");
    }
}

#[test]
fn what_was_done_is_allowed_and_what_was_not_costs_what_it_lacks() {
    let log = of_ways(&["abce", "acbe", "ade", "abcfbce"]);
    let net = Net::of(&discover(&log));
    let mut states = States::new(&net, 10_000);
    for trace in log.traces() {
        let way: Vec<u32> = trace.activities().collect();
        let found = align(&mut states, &way).unwrap_or_default();
        assert_eq!(found.map(|of| of.cost), Some(0), "{way:?}");
        let tokens = replay(&net, &way);
        assert_eq!((tokens.missing, tokens.remaining, tokens.fitness()), (0, 0, 1.0));
    }
    let a = 0;
    let found = align(&mut states, &[a, a]).unwrap_or_default();
    // One of them is too many, and the way to the end is missing.
    assert!(found.is_some_and(|of| of.moves.contains(&Move::Log(a)) && of.cost >= 2));
    assert!(replay(&net, &[a, a]).fitness() < 1.0);
    assert_eq!(replay(&net, &[a, 99]).unknown, 1);
    // What is left over by what is done twice keeps nothing from its end.
    let log = of_ways(&["abc", "acb"]);
    let net = Net::of(&discover(&log));
    let expected = Tokens { produced: 8, consumed: 8, missing: 1, remaining: 1, unknown: 0 };
    assert_eq!(replay(&net, &[0, 1, 1, 2]), expected);
    assert_eq!(align(&mut States::new(&net, 2), &[a]), Err(TooManyStates));
}

#[test]
fn a_net_that_can_not_end_aligns_with_nothing() {
    let stuck = Transition { activity: Some(0), takes: vec![0], gives: vec![2] };
    let net = Net { places: 3, first: 0, last: 1, transitions: vec![stuck] };
    assert_eq!(align(&mut States::new(&net, 100), &[0]), Ok(None));
    // One that makes tokens without end is refused, however long it could go on.
    let more = Transition { activity: None, takes: vec![0], gives: vec![0, 2] };
    let net = Net { places: 3, first: 0, last: 1, transitions: vec![more] };
    assert_eq!(align(&mut States::new(&net, 1 << 20), &[0]), Err(TooManyStates));
}
