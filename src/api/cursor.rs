//! Where a follower stands in the ledger, as an opaque string: clients keep it, and only we read it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// After the entry of this number; 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor(pub u64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c1.{:x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("c1.").filter(|number| !number.starts_with('+'));
        let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        number.map(Self).ok_or("not a cursor of ours: take one from a reply, and leave it as it is")
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_is_one() {
        for number in [0, 1, 255, u64::MAX] {
            assert_eq!(Cursor(number).to_string().parse(), Ok(Cursor(number)));
        }
        for other in ["", "12", "c1.", "c1.+1", "c1.-1", "c1.1ffffffffffffffff", "c2.1", "c1.g"] {
            assert!(other.parse::<Cursor>().is_err(), "{other}");
        }
    }
}
