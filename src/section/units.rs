//! Durations and sizes as people write them.

use std::time::Duration;

/// `"1h30m"`: numbers with the units ms, s, m, h and d, added up.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    sum_of_units(text, &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)])
        .map(Duration::from_millis)
}

/// `"64KiB"`: a number with one of the units B, KiB, MiB, GiB and TiB.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    sum_of_units(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)])
}

fn sum_of_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: Option<u64> = None;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (_, factor) = units.iter().find(|(unit, _)| *unit == &after[..length])?;
        total = Some(total.unwrap_or(0).checked_add(number.checked_mul(*factor)?)?);
        rest = &after[length..];
    }
    total
}

/// The shortest way to write a duration in the configuration.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= factor && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}

/// The shortest way to write a size in the configuration.
pub(super) fn show_size(size: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if size >= factor && size.is_multiple_of(factor) {
            return format!("{}{unit}", size / factor);
        }
    }
    format!("{size}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_with_their_units() {
        for (text, millis) in [("30m", 1_800_000), ("1h30m", 5_400_000), ("250ms", 250), ("0s", 0), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "m", "30 m", "-1s", "1.5h", "1w", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(parse_size("64KiB"), Some(65536));
        assert_eq!(parse_size("1MB"), None);
        assert_eq!((show_size(61_440), show_size(1000)), ("60KiB".into(), "1000B".into()));
        assert_eq!(show_duration(Duration::from_secs(5400)), "90m");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
    }
}
