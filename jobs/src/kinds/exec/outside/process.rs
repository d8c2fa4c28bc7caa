//! The program as a process: how it is found and started within its limits, watched, and killed with its group.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, getrlimit, kill_process_group, pidfd_open,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::error::{Failure, OutsideError};
use super::{Limits, Program, User};

/// What the program gets between the request to end and the kill.
const TERM_TO_KILL: Duration = Duration::from_millis(300);

/// How long a killed process may take to be gone. One that hangs in the kernel longer is reaped by the runtime later.
const KILL_TO_GONE: Duration = Duration::from_millis(500);

/// How often memory and CPU time are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// CPU time between SIGXCPU, which a program may heed, and SIGKILL.
const CPU_GRACE_SECONDS: u64 = 2;

/// `USER_HZ`, in which `/proc` counts CPU time: 100 on every Linux (proc(5)).
const TICKS_A_SECOND: u64 = 100;

/// Becomes the program: `$1` to `$6` are the limits, the rest is the command. The soft CPU limit comes first, since a hard
/// one may not be below it. Shells add the variables that are unset again.
const SHELL: &str = "ulimit -c 0 && ulimit -S -t $1 && ulimit -H -t $2 && ulimit -d $3 && ulimit -v $4 \
     && ulimit -f $5 && ulimit -n $6 || exit 125; shift 6; unset PWD OLDPWD SHLVL; exec \"$@\"";

/// The pipes of a started program.
pub(super) struct Pipes {
    /// `None` once it is closed.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// The program's name as its command says it, once all that can be checked before the start was.
pub(super) fn name(program: &Program) -> Result<String, OutsideError> {
    let name = program.command.first().filter(|name| !name.is_empty());
    let name = name.ok_or(OutsideError::EmptyCommand)?;
    if let Some(place) = program.command.iter().position(|part| part.contains('\0')) {
        return Err(OutsideError::Argument { place });
    }
    for (name, value) in &program.environment {
        if let Some(why) = refusal(name, value) {
            return Err(OutsideError::Variable { name: name.clone(), why });
        }
    }
    Ok(name.clone())
}

/// Why a variable is not handed on.
fn refusal(name: &str, value: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    let is_name = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Some("a name is letters, digits and _, and begins with no digit");
    }
    if value.contains('\0') {
        return Some("its value holds a NUL character");
    }
    let loads = ["LD_", "DYLD_", "BASH_"].iter().any(|prefix| name.starts_with(prefix));
    let tunes = ["GLIBC_TUNABLES", "GCONV_PATH", "ENV", "SHELLOPTS", "IFS"].contains(&name);
    (loads || tunes).then_some("it changes how programs are loaded")
}

/// Starts the program.
pub(super) async fn start(program: &Program) -> Result<(Process, Pipes), OutsideError> {
    let folder = &program.folder;
    if !tokio::fs::metadata(folder).await.is_ok_and(|found| found.is_dir()) {
        return Err(OutsideError::Folder { folder: folder.clone() });
    }
    let name = name(program)?;
    let path_list = match program.environment.get("PATH") {
        Some(given) => OsString::from(given),
        None => std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
    };
    let path = find(&name, &path_list, folder).await?;

    let failed = |source| OutsideError::Start { program: name.clone(), source };
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SHELL, "sh"])
        .args(limit_arguments(&program.limits))
        .arg(path)
        .args(&program.command[1..])
        .env_clear()
        .env("PATH", path_list)
        .env("LANG", "C.UTF-8")
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .envs(&program.environment)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(User { id, group }) = program.user {
        give(folder, program.user).map_err(failed)?;
        command.uid(id).gid(group);
    }
    let mut child = command.spawn().map_err(failed)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    // Without pidfd (Linux before 5.3) its end is seen as it is reaped.
    let end = group
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .and_then(|fd| watch(fd).ok());
    let process = Process { child, group, end, status: None, usage: Usage::default() };
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed(std::io::Error::other("a pipe is missing")));
    };
    Ok((process, Pipes { stdin: Some(stdin), stdout, stderr }))
}

/// Makes a user the owner of a folder and its contents, so that the program may write there.
fn give(folder: &Path, user: Option<User>) -> std::io::Result<()> {
    let Some(User { id, group }) = user else { return Ok(()) };
    std::os::unix::fs::lchown(folder, Some(id), Some(group))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => give(&entry.path(), user)?,
            false => std::os::unix::fs::lchown(entry.path(), Some(id), Some(group))?,
        }
    }
    Ok(())
}

/// Deprecated for types that may give another descriptor each time; an `OwnedFd` gives its own.
#[allow(deprecated)]
fn watch(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Where the program is: the shell would only say 127.
async fn find(name: &str, path_list: &OsString, folder: &Path) -> Result<PathBuf, OutsideError> {
    let is_program = |found: &Metadata| found.is_file() && found.permissions().mode() & 0o111 != 0;
    let mut other = None;
    let places: Vec<PathBuf> = match name.contains('/') {
        true => vec![folder.join(name)],
        false => {
            std::env::split_paths(path_list).map(|place| folder.join(place).join(name)).collect()
        }
    };
    for path in places {
        match tokio::fs::metadata(&path).await {
            Ok(found) if is_program(&found) => return Ok(path),
            Ok(_) => other = Some(path),
            Err(_) => {}
        }
    }
    let program = name.to_owned();
    Err(match (other, name.contains('/')) {
        (Some(path), _) => OutsideError::NotExecutable { program, path },
        (None, true) => OutsideError::NotFound { program, place: folder.display().to_string() },
        (None, false) => {
            let place = format!("PATH ({})", path_list.to_string_lossy());
            OutsideError::NotFound { program, place }
        }
    })
}

/// The limits in the units of `ulimit` (POSIX: seconds, KiB, blocks of 512 bytes), none above what this process may have.
fn limit_arguments(limits: &Limits) -> [String; 6] {
    let cpu = limits.cpu.as_secs_f64().ceil().max(1.0) as u64;
    let own = |limit: u64, resource, unit: u64| {
        let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        (limit.min(hard) / unit).to_string()
    };
    let address = limits.memory_bytes.saturating_add(Limits::ADDRESS_SLACK_BYTES);
    [
        own(cpu, Resource::Cpu, 1),
        own(cpu.saturating_add(CPU_GRACE_SECONDS), Resource::Cpu, 1),
        own(limits.memory_bytes, Resource::Data, 1024),
        own(address, Resource::As, 1024),
        own(limits.file_bytes, Resource::Fsize, 512),
        own(limits.open_files, Resource::Nofile, 1),
    ]
}

/// What the program used, as far as the system tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) peak_memory_bytes: Option<u64>,
    pub(super) cpu: Option<Duration>,
}

/// A started program with the process group that it leads. Dropping it kills the group.
pub(super) struct Process {
    child: Child,
    /// `None` once the program is reaped: the number may then be another's.
    group: Option<Pid>,
    end: Option<AsyncFd<OwnedFd>>,
    status: Option<ExitStatus>,
    usage: Usage,
}

impl Process {
    /// Waits for the program's end, then kills what is left of its group and reaps it. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> Result<(), Failure> {
        if self.status.is_some() {
            return Ok(());
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let end = async {
                match &self.end {
                    Some(end) => end.readable().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = end => break,
                status = self.child.wait(), if self.end.is_none() => {
                    self.kill(Signal::KILL);
                    return self.reaped(status);
                }
                _ = look.tick() => self.look(),
            }
        }
        // Not yet reaped: its CPU time can be read, and its number is still its own.
        self.look();
        self.kill(Signal::KILL);
        let status = self.child.wait().await;
        self.reaped(status)
    }

    fn reaped(&mut self, status: std::io::Result<ExitStatus>) -> Result<(), Failure> {
        self.group = None;
        self.status =
            Some(status.map_err(|source| Failure::Pipe { what: "waiting for its end", source })?);
        Ok(())
    }

    /// Whether the program is known to have ended; asked before [`Process::stop`], it was by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// How it ended.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// What it used.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Ends the program and its group: by request, then by force.
    pub(super) async fn stop(&mut self) {
        if self.group.is_none() {
            return;
        }
        self.kill(Signal::TERM);
        if tokio::time::timeout(TERM_TO_KILL, self.ended()).await.is_err() {
            self.kill(Signal::KILL);
            // On time-out the runtime reaps it after `kill_on_drop`.
            let _ = tokio::time::timeout(KILL_TO_GONE, self.ended()).await;
        }
    }

    fn kill(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The only error is that nobody is left.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Notes memory and CPU time. `/proc` is memory: reading it does not wait.
    fn look(&mut self) {
        let Some(pid) = self.group else { return };
        let read =
            |what| std::fs::read_to_string(format!("/proc/{}/{what}", pid.as_raw_pid())).ok();
        let peak = read("status").and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        let cpu = read("stat").and_then(|text| {
            // Fields 14 to 17 of proc_pid_stat(5); the name before may hold spaces and parentheses.
            let (_, after) = text.rsplit_once(')')?;
            let ticks = after.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
            ticks.sum::<Result<u64, _>>().ok()
        });
        self.usage.peak_memory_bytes = self.usage.peak_memory_bytes.max(peak.map(|kib| kib << 10));
        let cpu = cpu.map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_A_SECOND));
        self.usage.cpu = self.usage.cpu.max(cpu);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}
