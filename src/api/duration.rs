//! Durations as Kubernetes writes them, such as `24h` or `1h30m`. Whatever text is stored, reading it ends with a duration or
//! with words about what is wrong: parsers that multiply before they look panic on what nobody would write.

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(time::Duration);

/// What Go, and with it the API server's own rules, can count: some 292 years.
const LONGEST: time::Duration = time::Duration::from_nanos(i64::MAX.unsigned_abs());

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
];

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// It is not written as one.
    #[error("a duration is written with numbers and the units h, m and s, such as 24h or 1h30m")]
    Unknown,
    /// It is below zero.
    #[error("a duration cannot be negative; write something like 24h")]
    Negative,
    /// Nobody can wait for that long.
    #[error("the duration is longer than can be counted; write something like 24h")]
    TooLong,
}

impl FromStr for Duration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        if text.starts_with('-') {
            return Err(NoDuration::Negative);
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(time::Duration::ZERO));
        }
        let mut sum = time::Duration::ZERO;
        loop {
            let (part, after) = first_part(rest)?;
            sum = sum.checked_add(part).filter(|sum| *sum <= LONGEST).ok_or(NoDuration::TooLong)?;
            if after.is_empty() {
                return Ok(Self(sum));
            }
            rest = after;
        }
    }
}

/// The first number with its unit, and what comes after.
fn first_part(text: &str) -> Result<(time::Duration, &str), NoDuration> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, rest) = text.split_at(text.find(|c| !is_number(c)).ok_or(NoDuration::Unknown)?);
    let (unit, after) = rest.split_at(rest.find(is_number).unwrap_or(rest.len()));
    let number: f64 = number.parse().map_err(|_| NoDuration::Unknown)?;
    let (_, seconds) = UNITS.into_iter().find(|(known, _)| *known == unit).ok_or(NoDuration::Unknown)?;
    let part = time::Duration::try_from_secs_f64(number * seconds).map_err(|_| NoDuration::TooLong)?;
    Ok((part, after))
}

impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Not of the format "duration", which is another way of writing them.
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Result<u128, NoDuration> {
        text.parse().map(|Duration(duration)| duration.as_millis())
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, meant) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("+5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("2ms500us", 2),
            ("8760h", 31_536_000_000),
            ("2562047h", 9_223_369_200_000),
        ] {
            assert_eq!(millis(text), Ok(meant), "{text}");
        }
        for text in ["", "h", "24", "1h30", "24 h", "1d", "1e5s", "infs", "NaNs", "1..5s", "3sm", "\u{661}s"] {
            assert_eq!(millis(text), Err(NoDuration::Unknown), "{text}");
        }
        assert_eq!(millis("-1s"), Err(NoDuration::Negative));
        let sum_too_long = "2562047h".repeat(2);
        for text in
            ["99999999999999999999h", "9999999999999999999h", "2562048h", &sum_too_long, &("9".repeat(400) + "h")]
        {
            assert_eq!(millis(text), Err(NoDuration::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_reading_it_ends(text in r"[-+]?([0-9.]{0,40}(h|m|s|ms|us|ns|µs|d|)){0,6}") {
            let _ = millis(&text);
        }

        #[test]
        fn what_is_written_is_read_again(seconds in 0..3_000_000_000_u64) {
            let duration = Duration::from(time::Duration::from_secs(seconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
