//! The table.

use std::fmt::{self, Write};
use std::process::Command;

use kernels::devices;

use crate::options::Options;
use crate::setup::Setup;

/// Seconds of one run.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// On the wall.
    pub wall: f64,
    /// On all cores together.
    pub cpu: f64,
}

/// Ours beside one peer.
pub struct Row {
    /// What was computed.
    pub case: &'static str,
    /// By whom else.
    pub peer: &'static str,
    /// Medians of ours.
    pub ours: Times,
    /// Medians of the peer's.
    pub theirs: Times,
    /// What to know about the numbers.
    pub note: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs) = (self.ours, self.theirs);
        write!(
            f,
            "| {} | {} | {:.3} | {:.3} | {:.2}x | {:.3} | {:.3} | {:.2}x | {} |",
            self.case,
            self.peer,
            ours.wall,
            theirs.wall,
            theirs.wall / ours.wall,
            ours.cpu,
            theirs.cpu,
            theirs.cpu / ours.cpu,
            self.note
        )
    }
}

/// The middle value; NaN of none.
pub fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    match seconds.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => seconds[count / 2],
        count => 0.5 * (seconds[count / 2 - 1] + seconds[count / 2]),
    }
}

/// A section that says what was measured, where and how.
pub fn section(suite: &str, setup: &Setup, options: &Options, rows: &[Row]) -> String {
    let mut page = format!("## {suite}\n\n");
    let lines = [
        format!("- Machine: {}; commit {}", machine(), commit()),
        format!(
            "- Command: `benches/run.sh {suite}{} --rounds {} --warm-up {} --threads {}`. Medians of {} rounds after {} \
             not counted, the order reversed every other round.",
            setup.sizes(),
            options.rounds,
            options.warm_up,
            options.threads,
            options.rounds,
            options.warm_up
        ),
    ];
    for line in lines {
        let _ = writeln!(page, "{line}");
    }
    page.push_str(
        "\n| case | peer | ours, s | peer, s | ratio | ours, CPU s | peer, CPU s | ratio | note |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(page, "{row}");
    }
    page
}

/// The class of the machine; nothing that names one.
fn machine() -> String {
    let devices = devices();
    let Some(cpu) = devices.found.first() else {
        return "unknown".into();
    };
    let detail = |wanted: &str| {
        let found = cpu.details.iter().find(|(name, _)| *name == wanted);
        found.map_or("?", |(_, value)| value.as_str()).to_owned()
    };
    let gigabytes = cpu.memory_bytes.map_or_else(String::new, |bytes| {
        format!(", {:.0} GB", bytes as f64 / (1u64 << 30) as f64)
    });
    format!(
        "{} cores {} ({}){gigabytes}",
        detail("cores"),
        std::env::consts::ARCH,
        detail("matrix block")
    )
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--", "kernels", "benches/src"]);
    let suffix = if changed.is_some_and(|files| !files.is_empty()) { ", with changes" } else { "" };
    git(&["rev-parse", "--short", "HEAD"]).map_or("unknown".into(), |commit| commit + suffix)
}

/// What stands at the top of the file of results.
const TITLE: &str = "# Kernels: ours beside the peers\n\n\
    Ratio: the peer's time over ours, so above 1 ours is faster; CPU: time on all cores together. Ours and the peers \
    read the same file and have the same number of threads; their versions are in `benches/peers/requirements.txt`. \
    Every result was compared with ours before it was timed. Ours writes into a buffer that is kept from run to run; \
    the peers allocate their results.\n";
/// Ends this benchmark's part of the file; what stands below it was measured by other commands.
const END: &str = "<!-- end of the kernels' part -->";

/// A file of results with one suite's section replaced, or added behind the others.
pub fn replace(file: &str, suite: &str, section: &str) -> String {
    let (sections, others) = match file.split_once(END) {
        Some((sections, others)) => (sections, others),
        None => (TITLE, "\n"),
    };
    let heading = format!("## {suite}\n");
    let mut parts: Vec<String> = Vec::new();
    let mut found = false;
    for (index, part) in sections.split("\n## ").enumerate() {
        let part = if index == 0 { part.to_owned() } else { format!("## {part}") };
        if part.starts_with(&heading) {
            found = true;
            parts.push(section.trim_end().to_owned());
        } else {
            parts.push(part.trim_end().to_owned());
        }
    }
    if !found {
        parts.push(section.trim_end().to_owned());
    }
    format!("{}\n\n{END}{others}", parts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_measured_stays() {
        let first = replace("", "a", "## a\n\none\n");
        assert_eq!(first, format!("{}\n\n## a\n\none\n\n{END}\n", TITLE.trim_end()));
        let file = replace(&format!("{first}\nothers\n"), "b", "## b\n\ntwo\n");
        let file = replace(&file, "a", "## a\n\nthree");
        let expected =
            format!("{}\n\n## a\n\nthree\n\n## b\n\ntwo\n\n{END}\n\nothers\n", TITLE.trim_end());
        assert_eq!(file, expected);
    }
}
