//! One child process, within a time limit.
//!
//! A kernel that hangs, or that touches what it must not, takes its process with it: every later call of the driver
//! fails there. In a process of its own it takes nothing else. What a child finds out it writes to stdout at once, one
//! JSON object a line, so that what it knew before it died is kept.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// Lines of stderr that are kept.
const TAIL: usize = 40;
/// How long what is left in the pipes is waited for, once a child has ended.
const GRACE: Duration = Duration::from_secs(2);
/// How long a child may take to die. One that waits inside of the driver may never.
const DYING: Duration = Duration::from_secs(30);
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Killed at its limit.
    Limit(Duration),
    /// Killed at its limit, and still there.
    Stuck(Duration),
    /// It could not be started or waited for.
    Lost(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Limit(limit) => write!(f, "killed at the limit of {} s", limit.as_secs_f64()),
            Self::Stuck(limit) => {
                write!(f, "killed at the limit of {} s, and does not end", limit.as_secs_f64())
            }
            Self::Lost(error) => write!(f, "lost: {error}"),
        }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Lost(status.to_string()),
        }
    }
}

/// What is left of a child.
#[derive(Debug)]
pub struct Ended {
    pub end: End,
    /// The fields that it told, each as it was told last.
    pub told: Map<String, Value>,
    /// The last lines of its stderr.
    pub stderr: String,
    pub seconds: f64,
}

/// Runs `command` for at most `limit`. Its stderr is shown as it comes.
pub fn run(mut command: Command, limit: Duration) -> Ended {
    let start = Instant::now();
    let mut heard = Heard::default();
    let end = watch(&mut command, start, limit, &mut heard)
        .unwrap_or_else(|error| End::Lost(error.to_string()));
    let stderr = Vec::from(heard.tail).join("\n");
    Ended { end, told: heard.told, stderr, seconds: start.elapsed().as_secs_f64() }
}

fn watch(
    command: &mut Command,
    start: Instant,
    limit: Duration,
    heard: &mut Heard,
) -> std::io::Result<End> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = channel();
    if let Some(pipe) = child.stdout.take() {
        listen(pipe, sender.clone(), Line::Out);
    }
    if let Some(pipe) = child.stderr.take() {
        listen(pipe, sender.clone(), Line::Err);
    }
    drop(sender);
    let mut is_killed = false;
    loop {
        heard.take(&lines, LOOK);
        if let Some(status) = child.try_wait()? {
            // A process of its own that the child left behind could hold the pipes open for ever.
            let until = Instant::now() + GRACE;
            while Instant::now() < until && heard.take(&lines, LOOK) {}
            return Ok(if is_killed { End::Limit(limit) } else { status.into() });
        }
        if is_killed && start.elapsed() > limit + DYING {
            return Ok(End::Stuck(limit));
        }
        if !is_killed && start.elapsed() > limit {
            child.kill()?;
            is_killed = true;
        }
    }
}

enum Line {
    Out(String),
    Err(String),
}

/// Sends the lines of a pipe until it is closed.
fn listen(pipe: impl Read + Send + 'static, lines: Sender<Line>, kind: fn(String) -> Line) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if lines.send(kind(text)).is_err() {
                break;
            }
        }
    });
}

#[derive(Default)]
struct Heard {
    told: Map<String, Value>,
    tail: VecDeque<String>,
}

impl Heard {
    /// Takes the lines that come within `time`; false once there are no more to come.
    fn take(&mut self, lines: &Receiver<Line>, time: Duration) -> bool {
        let until = Instant::now() + time;
        // By the clock, as one that prints without end must not escape its limit.
        while Instant::now() < until {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Line::Out(text)) => match serde_json::from_str(&text) {
                    Ok(Value::Object(fields)) => self.told.extend(fields),
                    // A tool that watches the child may print there, too.
                    _ => self.show(text),
                },
                Ok(Line::Err(text)) => self.show(text),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    return false;
                }
            }
        }
        true
    }

    fn show(&mut self, text: String) {
        eprintln!("    {text}");
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shell(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_it_tells_is_kept_and_the_last_word_counts() {
        let script =
            r#"echo '{"a":1,"b":1}'; echo 'no JSON'; echo why >&2; echo '{"b":2}'; exit 3"#;
        let ended = shell(script, LONG);
        assert_eq!(ended.end, End::Code(3));
        assert_eq!(Value::Object(ended.told), json!({ "a": 1, "b": 2 }));
        assert!(ended.stderr.contains("why") && ended.stderr.contains("no JSON"));
    }

    #[test]
    fn one_that_hangs_is_killed_and_what_it_told_is_kept() {
        let limit = Duration::from_millis(300);
        let ended = shell(r#"echo '{"a":1}'; exec sleep 60"#, limit);
        assert_eq!(ended.end, End::Limit(limit));
        assert_eq!(ended.end.to_string(), "killed at the limit of 0.3 s");
        assert_eq!(Value::Object(ended.told), json!({ "a": 1 }));
        assert!(ended.seconds < 10.0);
    }

    #[test]
    fn one_that_prints_without_end_is_killed_too() {
        let limit = Duration::from_millis(300);
        let ended = shell("exec yes >&2", limit);
        assert_eq!(ended.end, End::Limit(limit));
        assert!(ended.seconds < 20.0);
    }

    #[test]
    fn one_that_leaves_a_process_behind_holds_nothing_up() {
        let ended = shell("sleep 30 & exit 0", LONG);
        assert_eq!(ended.end, End::Code(0));
        assert!(ended.seconds < 10.0);
    }

    #[test]
    fn a_signal_is_named() {
        let ended = shell("echo last words >&2; kill -SEGV $$", LONG);
        assert_eq!(
            (ended.end.to_string().as_str(), ended.stderr.as_str()),
            ("signal 11", "last words")
        );
    }

    #[test]
    fn only_the_end_of_stderr_is_kept() {
        let ended = shell("seq 1000 >&2", LONG);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[TAIL - 1]), (TAIL, "961", "1000"));
    }

    #[test]
    fn a_program_that_is_not_there_is_lost() {
        let ended = run(Command::new("/nowhere/at/all"), LONG);
        assert!(matches!(ended.end, End::Lost(_)), "{:?}", ended.end);
    }
}
