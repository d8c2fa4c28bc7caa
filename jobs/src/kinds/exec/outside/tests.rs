//! Real programs: those of `sh` always run; those of Python where `COLONNADE_TEST_PYTHON` names one that has pyarrow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use futures::stream::{self, BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::{BoxError, Failure, Limits, OutsideError, Program, Ran, run};

type Input = BoxStream<'static, Result<RecordBatch, BoxError>>;

fn schema() -> SchemaRef {
    let id = Field::new("id", DataType::Int64, false);
    Arc::new(Schema::new(vec![id, Field::new("name", DataType::Utf8, true)]))
}

fn batch(from: i64, rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(from..from + rows);
    let names: StringArray =
        (from..from + rows).map(|id| (id % 7 != 0).then(|| format!("name {id}"))).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

fn rows(batches: i64, each: i64) -> Input {
    stream::iter((0..batches).map(move |n| Ok(batch(n * each, each)))).boxed()
}

fn valid_stream() -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &schema()).unwrap();
    writer.write(&batch(0, 50)).unwrap();
    writer.write(&batch(50, 50)).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn limits() -> Limits {
    Limits { wall: Duration::from_secs(60), ..Limits::default() }
}

struct Setting {
    folder: tempfile::TempDir,
    program: Program,
    cancel: CancellationToken,
    lines: Mutex<Vec<String>>,
}

impl Setting {
    fn of(command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program {
            command: command.iter().map(|part| part.to_string()).collect(),
            environment: BTreeMap::new(),
            folder: folder.path().to_owned(),
            limits: limits(),
            user: None,
        };
        Self { folder, program, cancel: CancellationToken::new(), lines: Mutex::default() }
    }

    fn sh(script: &str) -> Self {
        Self::of(&["sh", "-c", script])
    }

    /// A script that knows pyarrow, or nothing and a word about it.
    fn python(script: &str) -> Option<Self> {
        let Ok(python) = std::env::var("COLONNADE_TEST_PYTHON") else {
            eprintln!("skipped: COLONNADE_TEST_PYTHON names no python with pyarrow");
            return None;
        };
        let head = "import sys, os, time\nimport pyarrow as pa\nfrom pyarrow import ipc\n\
                    source = lambda: ipc.open_stream(sys.stdin.buffer)\n\
                    target = lambda schema: ipc.new_stream(sys.stdout.buffer, schema)\n";
        let setting = Self::of(&[&python, "program.py"]);
        std::fs::write(setting.folder.path().join("program.py"), format!("{head}{script}"))
            .unwrap();
        Some(setting)
    }

    fn with(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.program.limits);
        self
    }

    /// A file in the folder of the program.
    fn file(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    async fn run_on(&self, input: Input) -> (Result<Ran, OutsideError>, Vec<RecordBatch>) {
        let mut taken = Vec::new();
        let on_line = |line: &str| self.lines.lock().unwrap().push(line.to_owned());
        let sink = |batch| {
            taken.push(batch);
            std::future::ready(Ok(()))
        };
        let ran = run(&self.program, schema(), input, &self.cancel, &on_line, sink).await;
        (ran, taken)
    }

    async fn fails(&self, input: Input) -> (Failure, String) {
        let error = self.run_on(input).await.0.unwrap_err();
        let text = error.to_string();
        eprintln!("{text}");
        match error {
            OutsideError::Failed { why, .. } => (why, text),
            other => panic!("{other}"),
        }
    }

    /// The number that the program wrote into `pid`, once it did.
    async fn pid(&self) -> i32 {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < Duration::from_secs(10), "it did not start");
            let text = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
            if let Some(Ok(pid)) = text.strip_suffix('\n').map(str::parse) {
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whether the process is there and no zombie.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

async fn gone_within(pid: i32, limit: Duration) -> Duration {
    let started = Instant::now();
    while lives(pid) {
        assert!(started.elapsed() < limit, "process {pid} still lives");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    started.elapsed()
}

const IDENTITY: &str =
    "r = source()\nwith target(r.schema) as w:\n    for b in r: w.write_batch(b)\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_come_back_as_they_went() {
    let Some(setting) = Setting::python(IDENTITY) else { return };
    let (ran, taken) = setting.run_on(rows(100, 10_000)).await;
    let ran = ran.unwrap();
    eprintln!("{ran:?}: {:.0} rows/s", ran.rows_out as f64 / ran.wall.as_secs_f64());
    assert_eq!((ran.rows_in, ran.rows_out), (1_000_000, 1_000_000));
    for (n, found) in taken.iter().enumerate() {
        assert_eq!(found, &batch(n as i64 * 10_000, 10_000));
    }
    assert!(ran.peak_memory_bytes.is_some() && ran.cpu.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_is_an_identity_that_waits_for_nothing() {
    let setting = Setting::of(&["cat"]);
    let batches: Vec<_> = (0..200).map(|n| batch(n * 50_000, 50_000)).collect();
    let (rows, started) = (batches.len() * 50_000, Instant::now());
    let (ran, taken) = setting.run_on(stream::iter(batches).map(Ok).boxed()).await;
    let ran = ran.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "cat: {:.0} rows/s, {:.0} MB/s",
        rows as f64 / seconds,
        ran.bytes_out as f64 / seconds / 1e6
    );
    assert_eq!(taken.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
}

#[tokio::test]
async fn starting_costs_milliseconds() {
    let setting = Setting::of(&["cat"]);
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(setting.run_on(rows(1, 1)).await.0.unwrap().rows_out, 1);
    }
    eprintln!("a run of cat on one row takes {:?}", started.elapsed() / 50);
    let Some(setting) = Setting::python(IDENTITY) else { return };
    let started = Instant::now();
    for _ in 0..5 {
        setting.run_on(rows(1, 1)).await.0.unwrap();
    }
    eprintln!("a run of python on one row takes {:?}", started.elapsed() / 5);
}

#[tokio::test]
async fn a_sum_by_group_is_taken() {
    let script = "t = source().read_all()\n\
        t = t.append_column('g', pa.array([i % 3 for i in t['id'].to_pylist()]).dictionary_encode())\n\
        g = t.group_by('g').aggregate([('id', 'sum')])\n\
        with target(g.schema) as w: w.write_table(g)\n";
    let Some(setting) = Setting::python(script) else { return };
    let (ran, taken) = setting.run_on(rows(3, 10)).await;
    assert_eq!(ran.unwrap().rows_out, 3);
    let sums: i64 = taken[0]
        .column_by_name("id_sum")
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .sum();
    assert_eq!(sums, (0..30).sum::<i64>());
}

#[tokio::test]
async fn a_run_may_move_between_threads() {
    let running = tokio::spawn(async {
        let setting = Setting::of(&["cat"]);
        let sink = |_| std::future::ready(Ok(()));
        run(&setting.program, schema(), rows(1, 3), &setting.cancel, &|_| {}, sink).await
    });
    assert_eq!(running.await.unwrap().unwrap().rows_out, 3);
}

#[tokio::test]
async fn no_rows_are_a_result_too() {
    let (ran, taken) = Setting::of(&["cat"]).run_on(rows(0, 0)).await;
    let ran = ran.unwrap();
    assert_eq!((ran.rows_out, ran.schema, taken.len()), (0, schema(), 0));
}

#[tokio::test]
async fn a_crash_shows_its_traceback() {
    let Some(setting) =
        Setting::python("r = source()\nprint('about to fail', file=sys.stderr)\n1 / 0\n")
    else {
        return;
    };
    let (why, text) = setting.fails(rows(100, 10_000)).await;
    assert!(matches!(why, Failure::Exited { code: 1 }));
    assert!(text.contains("ZeroDivisionError") && text.contains("program.py"), "{text}");
    assert_eq!(setting.lines.lock().unwrap()[0], "about to fail");
}

#[tokio::test]
async fn an_exit_code_is_told_even_after_half_a_stream() {
    let (why, text) = Setting::sh("echo bad column >&2; exit 3").fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::Exited { code: 3 }));
    assert!(text.ends_with("bad column"), "{text}");
    let setting = Setting::sh("head -c 300 out; exit 4").file("out", &valid_stream());
    assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::Exited { code: 4 }));
    let usage = Setting::sh("echo usage: program FILE; exit 2").fails(rows(1, 1)).await.0;
    assert!(matches!(usage, Failure::Exited { code: 2 }));
}

#[tokio::test]
async fn a_signal_is_named() {
    let (why, _) = Setting::sh("kill -FPE $$").fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::Killed { signal } if signal == "SIGFPE"));
}

#[tokio::test]
async fn a_hang_ends_at_the_wall_limit_even_where_sigterm_is_ignored() {
    for script in
        ["echo $$ > pid; sleep 1000", "trap '' TERM; echo $$ > pid; while :; do sleep 1000; done"]
    {
        let setting = Setting::sh(script).with(|limits| limits.wall = Duration::from_millis(300));
        let started = Instant::now();
        assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::Wall { .. }));
        assert!(started.elapsed() < Duration::from_millis(1300), "{:?}", started.elapsed());
        assert!(!lives(setting.pid().await));
    }
}

#[tokio::test]
async fn what_is_no_stream_is_quoted() {
    let (why, text) = Setting::sh("echo Loading the model...; cat").fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::NotArrow { at_byte: 0, .. }));
    assert!(text.contains("Loading the model") && text.contains("stray print"), "{text}");
    let (_, text) = Setting::sh("printf 'ARROW1\\0\\0xyz'").fails(rows(1, 1)).await;
    assert!(text.contains("new_stream"), "{text}");
    let (why, _) = Setting::sh("head -c 100000 /dev/urandom").fails(rows(1, 1)).await;
    assert!(why.is_of_the_output());
    let (why, _) = Setting::sh("cat; echo done").fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::NotArrow { at_byte: 1.., .. }));
    let (_, text) = Setting::sh("cat out out").file("out", &valid_stream()).fails(rows(1, 1)).await;
    assert!(text.contains("one stream"), "{text}");
    assert!(matches!(Setting::sh("true").fails(rows(1, 1)).await.0, Failure::NoOutput));
}

#[tokio::test]
async fn a_print_before_the_stream_is_quoted() {
    let script = format!("print('rows: 5', flush=True)\n{IDENTITY}");
    let Some(setting) = Setting::python(&script) else { return };
    assert!(setting.fails(rows(100, 10_000)).await.1.contains("rows: 5"));
}

#[tokio::test]
async fn a_stream_that_ends_in_the_middle_is_an_error() {
    let bytes = valid_stream();
    for length in [3, 6, 20, 400, bytes.len() - 100, bytes.len() - 4] {
        let setting = Setting::sh("cat out").file("out", &bytes[..length]);
        let (why, _) = setting.fails(rows(1, 1)).await;
        assert!(matches!(why, Failure::Cut { at_byte, .. } if at_byte == length as u64));
    }
}

#[tokio::test]
async fn another_schema_in_the_middle_is_an_error() {
    let other = Schema::new(vec![Field::new("id", DataType::Float64, false)]);
    let mut first = valid_stream();
    first.truncate(first.len() - 8);
    first.extend(StreamWriter::try_new(Vec::new(), &other).unwrap().into_inner().unwrap());
    let (why, _) = Setting::sh("cat out").file("out", &first).fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::SchemaChanged { .. }));
}

#[tokio::test]
async fn announced_lengths_take_no_memory() {
    let forged = |length: i32| {
        let mut bytes = vec![0xff; 4];
        bytes.extend(length.to_le_bytes());
        bytes.extend([0; 10]);
        bytes
    };
    for length in [i32::MAX, -5, (16 << 20) + 1] {
        let setting = Setting::sh("cat out").file("out", &forged(length));
        assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::Broken { .. }));
    }
    let setting = Setting::sh("cat out").file("out", &valid_stream());
    let setting = setting.with(|limits| limits.batch_bytes = 100);
    assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::MessageTooLarge { .. }));
    let setting = setting.with(|limits| (limits.batch_bytes, limits.output_bytes) = (1 << 20, 500));
    assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::TooManyBytes { .. }));
}

#[tokio::test]
async fn too_many_rows_are_refused() {
    let setting = Setting::of(&["cat"]).with(|limits| limits.output_rows = 15);
    let (ran, taken) = setting.run_on(rows(3, 10)).await;
    let text = ran.unwrap_err().to_string();
    assert!(text.contains("20 rows, more than the 15"), "{text}");
    assert_eq!(taken.len(), 1);
}

#[tokio::test]
async fn endless_output_is_stopped() {
    let Some(setting) = Setting::python(
        "r = source()\nb = r.read_next_batch()\nw = target(r.schema)\nwhile True: w.write_batch(b)\n",
    ) else {
        return;
    };
    let setting = setting.with(|limits| limits.output_bytes = 20 << 20);
    assert!(matches!(setting.fails(rows(2, 1000)).await.0, Failure::TooManyBytes { .. }));
    let noise = Setting::sh("yes >&2").with(|limits| limits.wall = Duration::from_millis(500));
    assert!(matches!(noise.fails(rows(1, 1)).await.0, Failure::Wall { .. }));
    assert_eq!(noise.lines.lock().unwrap().last().unwrap(), "(more lines are not shown)");
}

#[tokio::test]
async fn a_memory_hog_is_told_its_limit() {
    let Some(setting) = Setting::python("x = []\nwhile True: x.append(bytearray(10_000_000))\n")
    else {
        return;
    };
    let setting = setting.with(|limits| limits.memory_bytes = 300 << 20);
    let (why, _) = setting.fails(rows(1, 1)).await;
    assert!(matches!(why, Failure::Memory { limit_bytes, .. } if limit_bytes == 300 << 20));
}

#[tokio::test]
async fn a_cpu_hog_is_stopped() {
    let setting =
        Setting::sh("while :; do :; done").with(|limits| limits.cpu = Duration::from_secs(1));
    assert!(matches!(setting.fails(rows(1, 1)).await.0, Failure::Cpu { .. }));
    let stubborn = Setting::sh("trap '' XCPU; while :; do :; done");
    let stubborn = stubborn.with(|limits| limits.cpu = Duration::from_secs(1));
    assert!(matches!(stubborn.fails(rows(1, 1)).await.0, Failure::Cpu { .. }));
}

#[tokio::test]
async fn a_grandchild_that_holds_stdout_holds_up_nothing() {
    let within_group = Setting::sh("sleep 1000 & echo $! > pid; cat");
    let started = Instant::now();
    assert_eq!(within_group.run_on(rows(1, 5)).await.0.unwrap().rows_out, 5);
    assert!(started.elapsed() < Duration::from_secs(1));
    gone_within(within_group.pid().await, Duration::from_secs(1)).await;
    // One that left the group cannot be killed; it ends by itself.
    let escaped = Setting::sh("setsid sleep 3 & cat");
    let started = Instant::now();
    assert_eq!(escaped.run_on(rows(1, 5)).await.0.unwrap().rows_out, 5);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let setting = Setting::sh("cat out").file("out", &valid_stream());
    let ran = setting.run_on(rows(100, 10_000)).await.0.unwrap();
    assert!(ran.rows_in < 1_000_000 && ran.rows_out == 100);
    let closing = Setting::sh("exec <&-; sleep 0.1; cat out").file("out", &valid_stream());
    assert_eq!(closing.run_on(rows(100, 10_000)).await.0.unwrap().rows_out, 100);
    // Nor does it wait for an input that never comes.
    let setting = Setting::sh("cat out").file("out", &valid_stream());
    assert_eq!(setting.run_on(stream::pending().boxed()).await.0.unwrap().rows_out, 100);
}

#[tokio::test]
async fn all_output_of_a_program_that_ended_is_taken_however_slow_the_sink() {
    let setting = Setting::sh("cat out").file("out", &valid_stream());
    let mut taken = 0;
    let sink = |batch: RecordBatch| {
        taken += batch.num_rows();
        async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            Ok(())
        }
    };
    let ran = run(&setting.program, schema(), rows(1, 1), &setting.cancel, &|_| {}, sink).await;
    assert_eq!((ran.unwrap().rows_out, taken), (100, 100));
}

#[tokio::test]
async fn a_cancelled_run_is_gone_within_a_second() {
    for script in
        ["echo $$ > pid; exec cat", "trap '' TERM; echo $$ > pid; while :; do sleep 1000; done"]
    {
        let setting = Setting::sh(script);
        let input = rows(1, 5).chain(stream::pending()).boxed();
        let cancel = async {
            let pid = setting.pid().await;
            setting.cancel.cancel();
            (pid, Instant::now())
        };
        let ((ran, _), (pid, asked)) = tokio::join!(setting.run_on(input), cancel);
        let took = asked.elapsed();
        eprintln!("cancelled after {took:?}");
        assert!(matches!(ran, Err(OutsideError::Cancelled)));
        assert!(took < Duration::from_secs(1) && !lives(pid));
    }
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let setting = Setting::sh("trap '' TERM; echo $$ > leader; sleep 1000 & echo $! > pid; wait");
    let grandchild = {
        let running = setting.run_on(stream::pending().boxed());
        tokio::select! {
            _ = running => panic!("it ended"),
            pid = setting.pid() => pid,
        }
    };
    gone_within(grandchild, Duration::from_secs(10)).await;
    let leader = std::fs::read_to_string(setting.folder.path().join("leader")).unwrap();
    let started = Instant::now();
    while Path::new(&format!("/proc/{}", leader.trim())).exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "not reaped");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn errors_of_input_and_sink_pass() {
    let setting = Setting::of(&["cat"]);
    let input = rows(1, 5).chain(stream::once(async { Err("the disk is gone".into()) })).boxed();
    assert!(setting.fails(input).await.1.contains("its input failed: the disk is gone"));
    let sink = |_| std::future::ready(Err("full".into()));
    let ran = run(&setting.program, schema(), rows(1, 1), &setting.cancel, &|_| {}, sink).await;
    assert!(ran.unwrap_err().to_string().contains("could not be taken: full"));
    let other = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let text = setting.fails(stream::iter([Ok(other)]).boxed()).await.1;
    assert!(text.contains("a batch has columns"), "{text}");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let of = async |command: &[&str]| Setting::of(command).run_on(rows(1, 1)).await.0.unwrap_err();
    assert!(matches!(of(&[]).await, OutsideError::EmptyCommand));
    assert!(matches!(of(&[""]).await, OutsideError::EmptyCommand));
    assert!(matches!(of(&["no-such-program"]).await, OutsideError::NotFound { .. }));
    assert!(matches!(of(&["./no-such-program"]).await, OutsideError::NotFound { .. }));
    assert!(matches!(of(&["/etc/passwd"]).await, OutsideError::NotExecutable { .. }));
    assert!(matches!(of(&["cat", "a\0b"]).await, OutsideError::Argument { place: 1 }));
    let mut setting = Setting::of(&["cat"]);
    setting.program.folder.push("none");
    let error = setting.run_on(rows(1, 1)).await.0.unwrap_err();
    assert!(matches!(error, OutsideError::Folder { .. }));
}

#[tokio::test]
async fn the_environment_is_what_is_given() {
    let mut setting = Setting::sh("env >&2; ulimit -c >&2; pwd >&2; cat");
    setting.program.environment.insert("MODEL".to_owned(), "a b".to_owned());
    setting.run_on(rows(1, 1)).await.0.unwrap();
    let lines = setting.lines.lock().unwrap().clone();
    let folder = setting.folder.path().display().to_string();
    let mut names: Vec<_> =
        lines.iter().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    // The shell that is the program here adds PWD.
    assert_eq!(names, ["HOME", "LANG", "MODEL", "PATH", "PWD", "TMPDIR"]);
    assert!(lines.contains(&format!("HOME={folder}")) && lines.contains(&"MODEL=a b".to_owned()));
    assert_eq!(lines[lines.len() - 2..], ["0".to_owned(), folder]);
    for name in ["", "A=B", "A\0", "LD_PRELOAD", "LD_LIBRARY_PATH", "1A", "BASH_ENV"] {
        let mut setting = Setting::of(&["cat"]);
        setting.program.environment.insert(name.to_owned(), "x".to_owned());
        let error = setting.run_on(rows(1, 1)).await.0.unwrap_err();
        assert!(matches!(error, OutsideError::Variable { .. }), "{name}");
    }
}

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at the memory of the whole process, so that it must run alone"]
async fn memory_does_not_grow_with_the_rows() {
    let setting = Setting::of(&["cat"]);
    let (before, most_bytes) = (resident_bytes(), Mutex::new(0));
    let sink = |_| {
        let mut most_bytes = most_bytes.lock().unwrap();
        *most_bytes = resident_bytes().saturating_sub(before).max(*most_bytes);
        std::future::ready(Ok(()))
    };
    let input = rows(800, 50_000);
    let ran = run(&setting.program, schema(), input, &setting.cancel, &|_| {}, sink).await.unwrap();
    eprintln!("{} bytes passed; memory grew by at most {:?}", ran.bytes_out, most_bytes);
    assert!(ran.bytes_out > 500 << 20 && *most_bytes.lock().unwrap() < 64 << 20);
}

/// Runs broken streams through; the most bytes that the process grew by meanwhile.
async fn corruptions() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 =
        seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1);
    eprintln!("SEED={seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let valid = valid_stream();
    let setting = Setting::sh("cat out").with(|limits| limits.wall = Duration::from_secs(10));
    let before = resident_bytes();
    let (mut whole, mut failed, mut most_bytes) = (0, BTreeMap::<String, u32>::new(), 0);
    for _ in 0..1000 {
        let mut bytes = valid.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = 0xff,
                2 => bytes[at] = random(256) as u8,
                3 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0x7f),
                _ => drop(bytes.drain(at..(at + 1 + random(16)).min(bytes.len()))),
            }
        }
        std::fs::write(setting.folder.path().join("out"), &bytes).unwrap();
        match setting.run_on(rows(1, 1)).await {
            (Ok(_), taken) => {
                // What is given out can be read.
                taken.iter().for_each(|batch| {
                    drop(format!("{:?}", batch.slice(0, batch.num_rows().min(200))))
                });
                whole += 1;
            }
            (Err(OutsideError::Failed { why, .. }), _) => {
                assert!(!matches!(why, Failure::Wall { .. } | Failure::Pipe { .. }), "{why}");
                let name = format!("{why:?}");
                let name = name.split([' ', '(']).next().unwrap().to_owned();
                *failed.entry(name).or_default() += 1;
            }
            (Err(other), _) => panic!("{other}"),
        }
        most_bytes = most_bytes.max(resident_bytes().saturating_sub(before));
    }
    eprintln!("{whole} could be read, {failed:?}; memory grew by at most {most_bytes} bytes");
    most_bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_stream_is_an_error_or_rows_and_never_a_panic() {
    corruptions().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "looks at the memory of the whole process, so that it must run alone"]
async fn a_corrupt_stream_takes_little_memory() {
    assert!(corruptions().await < 256 << 20);
}
