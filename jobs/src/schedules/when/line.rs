//! Reading a cron line. `croner` reads the fields; what it would let pass is refused here first:
//! seconds and years, empty list parts, names in a foreign field (`MON` as a minute), names glued to
//! digits (`1JAN` is its 11), steps longer than the field, which never mean what they say.

use croner::CronPattern;
use croner::parser::{CronParser, Seconds, Year};

use super::{LINE_MAX_BYTES, WhenError, cut};

/// What a line does at a clock change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Names times of the day: each is one tick, whatever the clock does.
    Fixed,
    /// Goes on in real time: ticks whenever the clock shows a matching time.
    Interval,
}

/// A line that was understood.
pub(super) struct Read {
    pub(super) line: String,
    pub(super) pattern: CronPattern,
    pub(super) pace: Pace,
}

const NICKNAMES: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];
pub(super) const NICKNAMES_SHOWN: &str = "@hourly, @daily, @weekly, @monthly, @yearly";

struct Field {
    name: &'static str,
    expected: &'static str,
    /// Its smallest value.
    first: u32,
    /// How many values it has, the longest step that makes sense.
    span: u32,
    names: &'static [&'static str],
}

const DAY_OF_MONTH: usize = 2;
const DAY_OF_WEEK: usize = 4;

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        expected: "0 to 59 as *, */n, a, a-b, a-b/n or a list of such, n at most 60",
        first: 0,
        span: 60,
        names: &[],
    },
    Field {
        name: "hour",
        expected: "0 to 23 as *, */n, a, a-b, a-b/n or a list of such, n at most 24",
        first: 0,
        span: 24,
        names: &[],
    },
    Field {
        name: "day of month",
        expected: "1 to 31 as *, */n, a, a-b, a-b/n, aW, L, LW or a list of such, n at most 31",
        first: 1,
        span: 31,
        names: &[],
    },
    Field {
        name: "month",
        expected: "1 to 12 or JAN to DEC as *, */n, a, a-b, a-b/n or a list of such, n at most 12",
        first: 1,
        span: 12,
        names: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    Field {
        name: "day of week",
        expected: "0 to 7 or SUN to SAT (0 and 7 are Sunday) as *, */n, a, a-b, a-b/n, a#1 to a#5, \
                   aL or a list of such, n at most 7, with + before it to ask for the day of month, \
                   too",
        first: 0,
        span: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

pub(super) fn read(given: &str) -> Result<Read, WhenError> {
    if given.len() > LINE_MAX_BYTES {
        return Err(WhenError::TooLong { bytes: given.len() });
    }
    let line = given.split_whitespace().collect::<Vec<_>>().join(" ");
    let five = match NICKNAMES.iter().find(|(name, _)| line.eq_ignore_ascii_case(name)) {
        Some((_, five)) => (*five).to_owned(),
        None => line.to_ascii_uppercase(),
    };
    let fields: Vec<&str> = five.split(' ').filter(|field| !field.is_empty()).collect();
    let [minute, hour, ..] = fields[..] else { return Err(wrong_count(&line, &fields)) };
    if fields.len() != FIELDS.len() {
        return Err(wrong_count(&line, &fields));
    }
    for (index, text) in fields.iter().enumerate() {
        check(index, text)?;
    }
    let pattern = parse(&five).ok_or_else(|| wrong_count(&line, &fields))?;
    let starred = minute.starts_with('*') || hour.starts_with('*');
    let pace = if starred { Pace::Interval } else { Pace::Fixed };
    Ok(Read { line, pattern, pace })
}

fn wrong_count(line: &str, fields: &[&str]) -> WhenError {
    let (found, hint) = match fields {
        [] => ("nothing".to_owned(), ""),
        [word] if word.starts_with('@') => ("another word".to_owned(), ""),
        [_] => ("1 field".to_owned(), ""),
        [_, _, _, _, _, _] => ("6 fields".to_owned(), "; seconds cannot be given"),
        more => (format!("{} fields", more.len()), ""),
    };
    WhenError::Fields { found, line: cut(line), hint }
}

fn parse(five: &str) -> Option<CronPattern> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(five).ok().map(|cron| cron.pattern)
}

fn check(index: usize, text: &str) -> Result<(), WhenError> {
    let Some(field) = FIELDS.get(index) else { return Ok(()) };
    let wrong = |part: &str| WhenError::Field {
        field: field.name,
        expected: field.expected,
        found: cut(part),
    };
    let days = index == DAY_OF_MONTH || index == DAY_OF_WEEK;
    if text == "?" && days {
        return Ok(());
    }
    let list = match text.strip_prefix('+') {
        Some(list) if index == DAY_OF_WEEK => list,
        _ => text,
    };
    for part in list.split(',') {
        // `croner` says only that some field is wrong, so each part is tried alone.
        let mut alone = ["*"; FIELDS.len()];
        if let Some(place) = alone.get_mut(index) {
            *place = part;
        }
        if let Some(meant) = reversed(field, part) {
            return Err(WhenError::Reversed { field: field.name, found: cut(part), meant });
        }
        let bare_star = part == "*" && list != "*";
        if bare_star || !is_plain(index, field, part) || parse(&alone.join(" ")).is_none() {
            return Err(wrong(part));
        }
    }
    // `croner` keeps one flag for both and would drop the L.
    if index == DAY_OF_MONTH && ["L", "LW"].iter().all(|l| list.split(',').any(|part| part == *l)) {
        return Err(wrong(list));
    }
    Ok(())
}

/// The ranges that a reversed range may stand for: it wraps around the end of the field.
fn reversed(field: &Field, part: &str) -> Option<String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (from, to) = range.split_once('-')?;
    let place = |text: &str| match field.names.iter().position(|name| *name == text) {
        Some(at) => u32::try_from(at).ok().map(|at| at + field.first),
        None => text.parse().ok(),
    };
    let last = field.first + field.span - 1;
    let (begin, end) = (place(from)?, place(to)?);
    // Sunday is also 7, so FRI-SUN is a valid range.
    if begin <= end || begin > last || (field.names.len() == 7 && to == "SUN") {
        return None;
    }
    let named = |number: u32| {
        let at = usize::try_from(number - field.first).ok();
        let is_named = field.names.contains(&from) || field.names.contains(&to);
        let name = at.and_then(|at| field.names.get(at)).filter(|_| is_named);
        name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
    };
    let range = |from: u32, to: u32| match from == to {
        true => named(from),
        false => format!("{}-{}", named(from), named(to)),
    };
    Some(match step {
        None => format!("{},{}", range(begin, last), range(field.first, end)),
        Some(_) => {
            format!("two ranges, such as {},{}", range(begin, last), range(field.first, end))
        }
    })
}

/// Whether the pieces of a part are numbers and words of this field.
fn is_plain(index: usize, field: &Field, part: &str) -> bool {
    let (rest, nth) = match part.split_once('#') {
        Some((rest, nth)) => (rest, Some(nth)),
        None => (part, None),
    };
    if nth.is_some_and(|nth| index != DAY_OF_WEEK || !["1", "2", "3", "4", "5", "L"].contains(&nth))
    {
        return false;
    }
    let (range, step) = match rest.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (rest, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let sound = |step: &str| {
        digits(step) && step.parse().is_ok_and(|step: u32| (1..=field.span).contains(&step))
    };
    if step.is_some_and(|step| !sound(step)) {
        return false;
    }
    // Read as 0-7, every day.
    if range == "SUN-SUN" {
        return false;
    }
    let value = |text: &str| digits(text) || field.names.contains(&text);
    range == "*"
        || range.split('-').all(value)
        || match index {
            DAY_OF_MONTH => {
                range == "L" || range == "LW" || range.strip_suffix('W').is_some_and(digits)
            }
            DAY_OF_WEEK => nth.is_none() && range.strip_suffix('L').is_some_and(value),
            _ => false,
        }
}
