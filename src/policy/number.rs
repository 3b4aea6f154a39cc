//! Numbers compared as the decimals they were written as: 9007199254740993 is not …992.

use std::cmp::Ordering;

/// Beyond this exponent a number is not compared but refused.
const MAX_EXPONENT: i64 = 1_000_000;

/// Compares two JSON number tokens exactly. `None` when an exponent is beyond reason.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Decimal::of(a)?, Decimal::of(b)?);
    Some(match (a.sign(), b.sign()) {
        (x, y) if x != y => x.cmp(&y),
        (-1, _) => b.magnitude(&a),
        (0, _) => Ordering::Equal,
        _ => a.magnitude(&b),
    })
}

/// `0.d1d2d3… × 10^point`, without leading or trailing zeros; zero has no digits.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self { negative: false, digits, point: 0 });
        }
        let exponent: i64 = exponent.parse().ok().filter(|e: &i64| e.abs() <= MAX_EXPONENT)?;
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? + exponent;
        Some(Self { negative, digits, point })
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits))
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{Equal, Greater, Less};

    use super::compare;

    #[test]
    fn numbers_are_compared_to_the_last_digit() {
        for (a, b, order) in [
            ("9007199254740993", "9007199254740992", Greater),
            ("1", "1.0", Equal),
            ("1e2", "100", Equal),
            ("0.1", "0.10000000000000000001", Less),
            ("-2", "1", Less),
            ("-2", "-1", Less),
            ("-0", "0", Equal),
            ("0e9999999999", "0.0", Equal),
            ("120", "13", Greater),
            ("0.012", "0.13", Less),
            ("10e-1", "1", Equal),
        ] {
            assert_eq!(compare(a, b), Some(order), "{a} against {b}");
        }
        assert_eq!(compare("1e99999999999999999999", "1"), None);
    }
}
