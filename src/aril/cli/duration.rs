//! Durations as Go writes them (`time.ParseDuration`): `1h15m30.918s`, `100ms`.

use std::time::Duration;

/// Units, in nanoseconds.
const UNITS: [(&str, f64); 8] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A duration of more than nothing.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        Some(_) => Err("the duration must be greater than 0".to_owned()),
        None => Err("it is no duration such as 5s, 1m30s or 100ms".to_owned()),
    }
}

/// Numbers with a unit each; their sum. One that is negative is none of those that make sense here.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() || nanoseconds == 0.0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanoseconds += number.parse::<f64>().ok()? * factor;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::{parse, positive};
    use std::time::Duration;

    #[test]
    fn durations_of_go() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("100ms", 100),
            ("1h15m30.918s", 4_530_918),
            (".5s", 500),
            ("1.s", 1000),
            ("+2s", 2000),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
            ("0", 0),
            ("0s1s", 1000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "1d", "1e3s", "..s", ".s", "+", "1s-1s", "99999999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(positive("0s").is_err_and(|why| why.contains("greater than 0")));
        assert!(positive("5s").is_ok() && positive("five").is_err());
    }
}
