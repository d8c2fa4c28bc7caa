//! Sizes as people write them: bytes, a number with a unit, or a share of the machine's memory.

/// Reads `1048576`, `512MiB`, `4GB` or `50%` as bytes; `None` when it is none of these or zero.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1024.0 * 1024.0,
        "gib" | "g" => 1024.0 * 1024.0 * 1024.0,
        "tib" | "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "%" if number <= 100.0 => machine_memory_bytes() as f64 / 100.0,
        _ => return None,
    };
    let bytes = number * factor;
    (1.0..9e18).contains(&bytes).then_some(bytes as u64)
}

/// Memory available to this process: that of the machine, or of its control group, for example in a container. 4 GiB if the
/// system does not report it.
pub fn machine_memory_bytes() -> u64 {
    const UNKNOWN_BYTES: u64 = 4 << 30;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = machine_bytes(&read("/proc/meminfo")).unwrap_or(UNKNOWN_BYTES);
    let groups = group_files(&read("/proc/self/cgroup"));
    let limits = groups.iter().filter_map(|path| read(path).trim().parse::<u64>().ok());
    limits.min().unwrap_or(machine).min(machine)
}

/// The machine's memory, from the text of `/proc/meminfo`.
fn machine_bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        Some(kib.trim().parse::<u64>().ok()? * 1024)
    })
}

/// The files that limit the memory of a process whose `/proc/self/cgroup` is `text`: those of its group and of all parent
/// groups. In a container, the group is the mounted root.
fn group_files(text: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            of if of.split(',').any(|of| of == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{group}/{file}"));
            match group.rfind('/') {
                Some(end) => group = &group[..end],
                None => break,
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_in_a_group_has_the_memory_of_the_group() {
        assert_eq!(
            group_files("0::/a.slice/b.scope\n"),
            [
                "/sys/fs/cgroup/a.slice/b.scope/memory.max",
                "/sys/fs/cgroup/a.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            group_files("5:cpu:/x\n4:hugetlb,memory:/\n"),
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(group_files("nonsense").is_empty());
        assert_eq!(machine_bytes("MemTotal:  2 kB\nMemFree: 1 kB\n"), Some(2048));
        assert!(machine_memory_bytes() > 1 << 20);
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_not() {
        assert_eq!(parse("1024"), Some(1024));
        assert_eq!(parse("1.5GiB"), Some(3 << 29));
        assert_eq!(parse("2 MB"), Some(2_000_000));
        assert!(parse("50%").is_some_and(|b| b > 1 << 20));
        for bad in ["", "x", "0", "-1", "101%", "4 apples", "1e99TiB"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
