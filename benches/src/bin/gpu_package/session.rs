//! The parent: a child for each task, and the document after each.

use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::child::{self, End, Ended};
use crate::devices;
use crate::document::Document;
use crate::options::Options;
use crate::parts::{Task, Tell};

/// How it went.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Passed,
    Failed,
    /// There is no device.
    Absent,
}

/// Does `tasks`. `launch` makes the command for a child from the value of its `--child`.
pub fn run(
    options: &Options,
    tasks: &[Task],
    launch: &dyn Fn(&str) -> Command,
) -> Result<Outcome, String> {
    let mut document = Document::begin(
        &options.out,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "scale": options.scale,
            "rounds": options.rounds,
        }),
    )?;
    eprintln!("results go to {}", options.out.display());
    let found = if options.in_process {
        here(|tell| {
            tell(devices::probe());
            true
        })
    } else {
        child::run(launch("probe"), options.limit)
    };
    let devices = found.told.get("devices").cloned().unwrap_or_default();
    document.set("devices", devices.clone())?;
    if let Some(reason) = absent(&found) {
        let probed = devices::probed();
        document.set("cudaAbsent", reason.clone().into())?;
        document.set("probed", json!(probed))?;
        document.set("passed", false.into())?;
        document.set("finished", true.into())?;
        eprintln!("no CUDA device was found: {reason}\nprobed:");
        probed.iter().for_each(|what| eprintln!("  {what}"));
        return Ok(Outcome::Absent);
    }
    for device in devices.as_array().into_iter().flatten() {
        eprintln!("{}", device["device"].as_str().unwrap_or_default());
    }
    let mut failed = 0;
    for (index, &task) in tasks.iter().enumerate() {
        eprintln!("[{}/{}] {task}", index + 1, tasks.len());
        let ended = if options.in_process {
            here(|tell| task.perform(options, tell))
        } else {
            child::run(launch(&task.to_string()), options.limit)
        };
        let passed = ended.end == End::Code(0);
        failed += usize::from(!passed);
        eprintln!(
            "  {} ({}, {:.1} s){}",
            if passed { "passed" } else { "FAILED" },
            ended.end,
            ended.seconds,
            summary(&ended.told)
        );
        document.push(task.part, record(task, ended, passed))?;
    }
    document.set("passed", (failed == 0).into())?;
    document.set("finished", true.into())?;
    eprintln!("{} of {} passed", tasks.len() - failed, tasks.len());
    Ok(if failed == 0 { Outcome::Passed } else { Outcome::Failed })
}

/// Why there is no device to work on.
fn absent(probe: &Ended) -> Option<String> {
    match (&probe.end, probe.told.get("cudaAbsent")) {
        (End::Code(0), Some(Value::Null)) => None,
        (End::Code(0), Some(Value::String(reason))) => Some(reason.clone()),
        (end, _) => Some(format!("looking for one ended with {end}: {}", probe.stderr)),
    }
}

/// In this process what a child would do.
fn here(perform: impl FnOnce(&mut Tell<'_>) -> bool) -> Ended {
    let start = Instant::now();
    let mut told = Map::new();
    let passed = perform(&mut |value| {
        if let Value::Object(fields) = value {
            told.extend(fields);
        }
    });
    let end = End::Code(i32::from(!passed));
    Ended { end, told, stderr: String::new(), seconds: start.elapsed().as_secs_f64() }
}

fn record(task: Task, ended: Ended, passed: bool) -> Value {
    let mut record = Map::new();
    record.insert("name".into(), task.name.into());
    record.insert("passed".into(), passed.into());
    record.insert("ended".into(), ended.end.to_string().into());
    record.insert("processSeconds".into(), ended.seconds.into());
    record.extend(ended.told);
    if !passed {
        record.insert("stderr".into(), ended.stderr.into());
    }
    record.into()
}

/// The numbers that matter while one watches.
fn summary(told: &Map<String, Value>) -> String {
    ["seconds", "kernelSeconds", "goalSeconds", "crossover", "error"]
        .into_iter()
        .filter_map(|field| Some((field, told.get(field).filter(|value| !value.is_null())?)))
        .map(|(field, value)| format!(", {field} {value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::parts::{self, Part};

    /// A session whose children are shell scripts.
    fn session(name: &str, probe: &str, task: &'static str) -> (Outcome, Value) {
        let file = format!("colonnade-gpu-package-{name}-{}.json", std::process::id());
        let out: PathBuf = std::env::temp_dir().join(file);
        let options = Options {
            only: Some(Part::Benches),
            filter: "correlate".into(),
            limit: Duration::from_secs(1),
            out: out.clone(),
            ..Options::default()
        };
        let tasks = parts::tasks(&options).unwrap();
        let launch = |child: &str| {
            let mut command = Command::new("sh");
            let script = if child == "probe" { probe } else { task };
            command.args(["-c", script, child]);
            command
        };
        let outcome = run(&options, &tasks, &launch).unwrap();
        let document = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        std::fs::remove_file(&out).unwrap();
        (outcome, document)
    }

    const FOUND: &str = r#"echo '{"devices":[{"device":"cuda:0"}],"cudaAbsent":null}'"#;

    #[test]
    fn one_that_dies_takes_no_other_with_it() {
        let task = r#"case $0 in
            benches/correlate) echo '{"firstSeconds":2}'; echo 'illegal address' >&2; kill -ABRT $$;;
            *) echo '{"seconds":0.5}';;
        esac"#;
        let (outcome, document) = session("dies", FOUND, task);
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!((&document["passed"], &document["finished"]), (&json!(false), &json!(true)));
        let [first, second] = &document["benches"].as_array().unwrap()[..] else {
            unreachable!("two cases")
        };
        assert_eq!(first["name"], "correlate");
        assert_eq!((&first["ended"], &first["passed"]), (&json!("signal 6"), &json!(false)));
        assert_eq!(
            (&first["firstSeconds"], &first["stderr"]),
            (&json!(2), &json!("illegal address"))
        );
        assert_eq!(second["name"], "correlate_screened");
        assert_eq!((&second["seconds"], &second["passed"]), (&json!(0.5), &json!(true)));
    }

    #[test]
    fn one_that_hangs_ends_at_its_limit() {
        let (outcome, document) = session("hangs", FOUND, "exec sleep 60");
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!(document["benches"][0]["ended"], "killed at the limit of 1 s");
        assert_eq!(document["benches"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn where_all_pass_so_does_the_session() {
        let (outcome, document) = session("passes", FOUND, "true");
        assert_eq!((outcome, &document["passed"]), (Outcome::Passed, &json!(true)));
        assert_eq!(document["devices"][0]["device"], "cuda:0");
    }

    #[test]
    fn without_a_device_the_document_says_what_was_probed() {
        let probe = r#"echo '{"devices":[],"cudaAbsent":"no driver"}'"#;
        let (outcome, document) = session("absent", probe, "true");
        assert_eq!((outcome, &document["cudaAbsent"]), (Outcome::Absent, &json!("no driver")));
        assert!(document["probed"][0].as_str().unwrap().contains("libcuda.so"));
        assert!(document.get("benches").is_none());
    }

    #[test]
    fn a_driver_that_kills_the_probe_is_no_device() {
        let (outcome, document) = session("killed", "echo broken >&2; exit 9", "true");
        assert_eq!(outcome, Outcome::Absent);
        assert_eq!(document["cudaAbsent"], "looking for one ended with exit code 9: broken");
    }
}
