//! The process's memory as the system sees it: the one figure of a run's memory that needs no trust
//! in our own estimates.

/// Greatest resident size of this process so far, in bytes; 0 where the system does not tell.
pub(crate) fn peak_resident_bytes() -> u64 {
    // proc(5): `VmHWM:    123 kB`.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
