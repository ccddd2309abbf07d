//! Lists of numbers as the kernel writes them: `0-3,7` (cpuset(7), "List format").

use crate::config::{Invalid, Pointer};

/// The numbers of a list as a bit mask of 64-bit words, the lowest number in the lowest bit of the first. Empty text is an empty list, and an
/// empty mask.
///
/// # Errors
/// An item is no number or range, a range runs backwards, or a number is not below `end`. `what` names one of what is counted.
pub fn mask(text: &str, what: &str, end: u32, at: &Pointer) -> Result<Vec<u64>, Invalid> {
    let mut words = Vec::new();
    if text.trim().is_empty() {
        return Ok(words);
    }
    for item in text.split(',').map(str::trim) {
        let wrong = |why: String| Invalid::new(at, format!("{text:?} is no list of {what}s such as \"0-3,7\": {why}"));
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| match text.parse::<u32>() {
            // `parse` takes a leading plus, too.
            Ok(n) if text.bytes().all(|b| b.is_ascii_digit()) && n < end => Ok(n),
            Ok(n) if n >= end => Err(wrong(format!("no {what} has number {n} ({} is the last)", end - 1))),
            _ => Err(wrong(format!("{item:?} is neither a number nor a range"))),
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong(format!("the range {item:?} runs backwards")));
        }
        for n in first..=last {
            let index = usize::try_from(n / 64).unwrap_or(0);
            words.resize(words.len().max(index + 1), 0);
            words[index] |= 1 << (n % 64);
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<u64>, Invalid> {
        mask(text, "CPU", 200, &Pointer::to("/list"))
    }

    #[test]
    fn numbers_and_ranges_are_bits() {
        assert_eq!(of("0-3,7"), Ok(vec![0b1000_1111]));
        assert_eq!(of("64, 1"), Ok(vec![2, 1]));
        assert_eq!(of("199"), Ok(vec![0, 0, 0, 1 << 7]));
        assert_eq!(of(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_place() {
        for (text, why) in [
            ("3-1", "runs backwards"),
            ("0,,1", "neither a number nor a range"),
            ("a", "neither a number nor a range"),
            ("+1", "neither a number nor a range"),
            ("1-", "neither a number nor a range"),
            ("0-200", "no CPU has number 200 (199 is the last)"),
            ("99999999999", "neither a number nor a range"),
        ] {
            let error = of(text).expect_err(text);
            assert_eq!(error.at.as_str(), "/list");
            assert!(error.why.contains(why), "{error}");
        }
    }
}
