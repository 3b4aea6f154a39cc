//! How limits count time, and durations as a policy writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::call::Timestamp;

/// How a limit counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Window {
    /// Calendar-aligned, UTC: minute, hour or day (its length).
    Calendar(Duration),
    Sliding(Duration),
}

impl Window {
    pub const MINUTE: Self = Self::Calendar(Duration::from_secs(60));
    pub const HOUR: Self = Self::Calendar(Duration::from_secs(3600));
    pub const DAY: Self = Self::Calendar(Duration::from_secs(86_400));

    #[must_use]
    pub fn length(self) -> Duration {
        match self {
            Self::Calendar(length) | Self::Sliding(length) => length,
        }
    }

    /// The earliest moment whose uses still count at `now`.
    #[must_use]
    pub fn start(self, now: Timestamp) -> Timestamp {
        let length = i64::try_from(self.length().as_millis()).unwrap_or(i64::MAX).max(1);
        match self {
            Self::Calendar(_) => Timestamp(now.0.saturating_sub(now.0.rem_euclid(length))),
            Self::Sliding(_) => Timestamp(now.0.saturating_sub(length)),
        }
    }
}

/// As in a policy: `minute`, `hour`, `day`, or a duration for a sliding window.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MINUTE => f.write_str("minute"),
            Self::HOUR => f.write_str("hour"),
            Self::DAY => f.write_str("day"),
            Self::Calendar(length) | Self::Sliding(length) => write!(f, "{}s", length.as_secs()),
        }
    }
}

/// The error says what was expected.
impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "minute" => Ok(Self::MINUTE),
            "hour" => Ok(Self::HOUR),
            "day" => Ok(Self::DAY),
            other => duration(other)
                .map(Self::Sliding)
                .ok_or_else(|| "expected \"minute\", \"hour\", \"day\" or a duration such as \"90s\"".into()),
        }
    }
}

/// A whole number and `s`, `m`, `h` or `d`: from a second to a year.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=366 * 86_400).contains(&seconds).then(|| Duration::from_secs(seconds))
}
