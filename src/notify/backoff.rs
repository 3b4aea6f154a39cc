//! How long to wait before the next try: doubling with jitter, or what the receiver asks for. Pure.

use std::time::Duration;

use super::settings::Pace;
use crate::call::Timestamp;

/// The wait after failure number `failures` (1 for the first). `jitter` is in 0..1: half of the wait is
/// fixed, so that nobody hammers, half is spread, so that nobody marches in step.
pub(super) fn wait(pace: &Pace, failures: u32, jitter: f64) -> Duration {
    let doubled = pace.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let whole = doubled.min(pace.longest_wait);
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// `Retry-After`: seconds, or an HTTP date.
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    Some(Timestamp(moment.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_fall_below_half() {
        let pace = Pace::default();
        let whole: Vec<u64> = (1..=12).map(|n| wait(&pace, n, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(wait(&pace, 3, 0.0), Duration::from_secs(2));
        assert_eq!(wait(&pace, u32::MAX, 0.0), Duration::from_secs(300));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-11-21T07:00:00Z".parse().expect("a time");
        assert_eq!(retry_after(" 30 ", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 07:02:00 GMT", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 06:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
