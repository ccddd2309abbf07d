//! A program that the configuration gives as it is, instead of a profile (crun(1), `run.oci.seccomp_bpf_data`).

use super::Filter;
use super::bpf::{INSTRUCTIONS_MAX, LEN};
use crate::config::{Invalid, Pointer};

/// Reads a program in base64 (RFC 4648, section 4). It cannot notify anybody. What its instructions are is for the kernel to check.
///
/// # Errors
/// It is no base64, holds no whole instructions, or more than the kernel takes.
pub fn resolve(text: &str, at: &Pointer) -> Result<Filter, Invalid> {
    let program = decode(text.trim()).ok_or_else(|| Invalid::new(at, "the seccomp program is no valid base64"))?;
    if program.is_empty() || !program.len().is_multiple_of(LEN) {
        let why = format!("the seccomp program has {} bytes, not one or more instructions of {LEN}", program.len());
        return Err(Invalid::new(at, why));
    }
    let length = program.len() / LEN;
    if length > INSTRUCTIONS_MAX {
        let why = format!("the seccomp program has {length} instructions, more than the kernel takes ({INSTRUCTIONS_MAX})");
        return Err(Invalid::new(at, why));
    }
    // As for a profile without a list of flags.
    let flags = u32::try_from(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).unwrap_or_default();
    Ok(Filter { flags, program, warnings: Vec::new() })
}

/// The bytes, `None` if it is not base64. The padding may be left out.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || (text.len() != digits.len() && !text.len().is_multiple_of(4)) || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    // What is left over of the last digit has to be nothing.
    (bits & ((1 << held) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("+/+/").as_deref(), Some([0xfb, 0xff, 0xbf].as_slice()));
        for text in ["Z", "Zg=", "Zh==", "Zg===", "====", "Zm9v=", "Zm 9v", "Zm-_", "Z=g="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn whole_instructions_are_taken_as_they_are() {
        let at = Pointer::to("/annotations/x");
        let filter = resolve("BgAAAAAA/38=\n", &at).expect("it is valid");
        assert_eq!(filter.program, [6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
        assert_eq!(u64::from(filter.flags), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
        let all = "BgAAAAAA/38GAAAAAAD/fwYAAAAAAP9/".repeat(INSTRUCTIONS_MAX / 3);
        assert_eq!(resolve(&all, &at).map(|filter| filter.program.len()), Ok((INSTRUCTIONS_MAX - 1) * LEN));
        let more = all + "BgAAAAAA/38GAAAAAAD/fwYAAAAAAP9/";
        for (text, why) in [("", "0 bytes"), ("BgAAAAAA/w==", "7 bytes"), ("?", "base64"), (&more, "4098 instructions")] {
            let error = resolve(text, &at).expect_err(why);
            assert!(error.why.contains(why), "{error}");
        }
    }
}
