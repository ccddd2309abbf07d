//! The names of signals.

use std::fmt;
use std::str::FromStr;

/// A signal's number, 0 to 64; 0 sends nothing and asks whether the process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal(i32);

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown;

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown signal: give a name (TERM, SIGKILL, RTMIN+3) or a number from 0 to 64")
    }
}

impl std::error::Error for Unknown {}

const NAMES: &[(&str, i32)] = &[
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("UNUSED", libc::SIGSYS),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// As the C libraries number them: 32 and 33 are their own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    pub(super) fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Signal, Unknown> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().filter(|number| (0..=RTMAX).contains(number)).map(Signal).ok_or(Unknown);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let plain = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        plain.or_else(|| real_time(name)).map(Signal).ok_or(Unknown)
    }
}

/// `RTMIN`, `RTMIN+N`, `RTMAX`, `RTMAX-N`
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str, sign| match text.strip_prefix(sign) {
        Some(digits) if digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => text.is_empty().then_some(0),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN + offset(rest, '+')?,
        (_, Some(rest)) => RTMAX - offset(rest, '-')?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::{NAMES, Signal, Unknown};

    #[test]
    fn names_and_numbers() {
        let good = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("SigKill", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("SIGRTMIN", 34),
            ("RTMIN+0", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+30", 64),
            ("RTMAX", 64),
            ("SIGRTMAX-14", 50),
            ("RTMAX-30", 34),
            ("SIGSYS", 31),
            ("USR1", 10),
            ("WINCH", 28),
        ];
        for (text, number) in good {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal() {
        let bad = [
            "",
            "SIG",
            "FOO",
            "SIGSIGTERM",
            "65",
            "-1",
            "-9",
            "+9",
            "1.5",
            "0x9",
            " 9",
            "99999999999",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX-31",
            "RTMAX+1",
            "RTMIN+",
            "RTMIN++1",
            "RTMIN+-1",
        ];
        for text in bad {
            assert_eq!(text.parse::<Signal>(), Err(Unknown), "{text:?}");
        }
    }

    #[test]
    fn the_table_has_every_standard_signal() {
        for number in 1..32 {
            assert!(NAMES.iter().any(|(_, known)| *known == number), "{number}");
        }
    }
}
