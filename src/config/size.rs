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

/// Memory of this machine; 4 GiB where the system does not say.
fn machine_memory_bytes() -> u64 {
    const UNKNOWN_BYTES: u64 = 4 << 30;
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else { return UNKNOWN_BYTES };
    text.lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(UNKNOWN_BYTES, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

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
