//! Events by case.

use hashbrown::HashMap;

/// Texts by number, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
    bytes: usize,
}

/// Memory of a name beside its text.
const NAME_BYTES: usize = 96;

impl Names {
    /// The number of a text, a new one where it is new.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        self.bytes += 2 * text.len() + NAME_BYTES;
        number
    }

    /// The number of a text; none of one that has none.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number; empty for one that there is not.
    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// How much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Something that was done in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was done, a number of [`Log::activities`].
    pub activity: u32,
    /// Who did it, a number of [`Log::resources`].
    pub resource: Option<u32>,
    /// When it began; its end where that is not known, or later.
    pub started_us: i64,
    /// When it was done.
    pub ended_us: i64,
    /// Whether it is marked, see [`Builder::mark`].
    pub is_marked: bool,
}

impl Event {
    /// How long it took.
    pub fn working_us(&self) -> i64 {
        self.ended_us - self.started_us
    }

    /// How long it waited for, after the one before it in its case; less than 0 where it began before that had ended.
    pub fn waiting_us(&self, before: &Self) -> i64 {
        self.started_us - before.ended_us
    }
}

/// The events of one case.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The case, a number of [`Log::cases`].
    pub case: u32,
    /// In order; at least one.
    pub events: &'a [Event],
}

impl Trace<'_> {
    /// When it began: the earliest start.
    pub fn started_us(&self) -> i64 {
        self.events.iter().map(|event| event.started_us).min().unwrap_or_default()
    }

    /// When it ended.
    pub fn ended_us(&self) -> i64 {
        self.events.last().map_or(0, |event| event.ended_us)
    }

    /// From its start to its end.
    pub fn lasted_us(&self) -> i64 {
        self.ended_us() - self.started_us()
    }

    /// Its activities in order.
    pub fn activities(&self) -> impl Iterator<Item = u32> + '_ {
        self.events.iter().map(|event| event.activity)
    }
}

/// Events of cases.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The cases' names.
    pub cases: Names,
    /// The activities' names.
    pub activities: Names,
    /// The names of who did something.
    pub resources: Names,
    events: Vec<Event>,
    /// Where the events of each case end.
    ends: Vec<usize>,
}

impl Log {
    /// The cases, in the order in which they came.
    pub fn traces(&self) -> impl ExactSizeIterator<Item = Trace<'_>> + Clone {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let spans: Vec<(usize, usize)> = begins.zip(self.ends.iter().copied()).collect();
        let of = |(case, (first, end)): (usize, (usize, usize))| Trace {
            case: u32::try_from(case).unwrap_or(u32::MAX),
            events: self.events.get(first..end).unwrap_or_default(),
        };
        spans.into_iter().enumerate().map(of)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Takes events as they come, of all cases in any order.
#[derive(Debug, Default)]
pub struct Builder {
    log: Log,
    of: Vec<u32>,
    /// Events that began after they ended: their end stands for their start.
    pub turned: u64,
}

impl Builder {
    /// How much memory the names take that came by now.
    pub fn names_bytes(&self) -> usize {
        let Log { cases, activities, resources, .. } = &self.log;
        cases.bytes() + activities.bytes() + resources.bytes()
    }

    /// One event. Its start is its end where it is not told, or later.
    pub fn push(
        &mut self,
        case: &str,
        activity: &str,
        resource: Option<&str>,
        started_us: Option<i64>,
        ended_us: i64,
    ) {
        self.turned += u64::from(started_us.is_some_and(|started| started > ended_us));
        self.of.push(self.log.cases.number(case));
        self.log.events.push(Event {
            activity: self.log.activities.number(activity),
            resource: resource.map(|resource| self.log.resources.number(resource)),
            started_us: started_us.map_or(ended_us, |started| started.min(ended_us)),
            ended_us,
            is_marked: false,
        });
    }

    /// Marks the event that came last, as one that says that its case has succeeded.
    pub fn mark(&mut self) {
        if let Some(event) = self.log.events.last_mut() {
            event.is_marked = true;
        }
    }

    /// The log: each case's events by their ends, those of the same instant as they came.
    pub fn finish(self) -> Log {
        let Self { mut log, of, .. } = self;
        let mut ends = vec![0; log.cases.len()];
        for case in &of {
            if let Some(count) = ends.get_mut(*case as usize) {
                *count += 1;
            }
        }
        let mut free = Vec::with_capacity(ends.len());
        let mut end = 0;
        for count in &mut ends {
            free.push(end);
            end += *count;
            *count = end;
        }
        // To the next free place of its case, which keeps the order in which they came.
        let mut events = log.events.clone();
        for (case, event) in of.iter().zip(&log.events) {
            let Some(place) = free.get_mut(*case as usize) else { continue };
            if let Some(to) = events.get_mut(*place) {
                *to = *event;
            }
            *place += 1;
        }
        let mut left = events.as_mut_slice();
        let mut first = 0;
        for end in &ends {
            let (case, rest) = left.split_at_mut(end - first);
            if !case.is_sorted_by_key(|event| event.ended_us) {
                case.sort_by_key(|event| event.ended_us);
            }
            (left, first) = (rest, *end);
        }
        log.events = events;
        log.ends = ends;
        log
    }
}
