//! Why did it die: a container that ended, or never began, for a limit that was set to it.
//!
//! Looks at the cgroup and at the kernel's log: for what has failed.

use crate::cgroup::{Cgroup, OutOfMemory, OutOfPids};
use crate::config::Pointer;
use crate::error::Error;
use crate::sys::process::Exit;
use crate::sys::{self, Errno};
use std::time::Duration;

/// A limit that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What happened: a clause.
    pub what: String,
    /// The part of the configuration that sets the limit.
    pub at: Option<Pointer>,
    /// What can be done about it.
    pub hint: &'static str,
}

impl Cause {
    /// As a warning says it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let at = self.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
        format!("{}{at}; {}", self.what, self.hint)
    }
}

/// So long the kernel may take to log that it killed a process.
const LOGGED: Duration = Duration::from_millis(100);

/// The error with the limit in front, where one is to blame; else as it was.
#[must_use]
pub fn explained(error: Error, cgroup: Option<&Cgroup>) -> Error {
    match of_error(&error, cgroup) {
        Some(Cause { what, at, hint }) => Error::Limit { what, at, hint, source: Box::new(error) },
        None => error,
    }
}

fn of_error(error: &Error, cgroup: Option<&Cgroup>) -> Option<Cause> {
    if let Some(ended) = error.ended() {
        // Without a word of how it ended: nothing but a kill is likely.
        return of_exit(ended.how.unwrap_or(Exit::Signal(SIGKILL)), ended.pid, cgroup);
    }
    let call = error.call().unwrap_or_default().split(' ').next().unwrap_or_default();
    match error.errno()? {
        Errno::EAGAIN if matches!(call, "clone" | "clone3" | "fork" | "vfork") => {
            Some(cgroup.and_then(Cgroup::out_of_pids).map_or_else(too_many, |it| pids(&it)))
        }
        // execve(2): the limit was exceeded when the user was changed.
        Errno::EAGAIN if matches!(call, "execve" | "execveat") => Some(too_many()),
        Errno::ENOMEM => cgroup.and_then(Cgroup::out_of_memory).map(memory),
        // The executor's arguments are two words: what is too long is any stack at all.
        Errno::E2BIG if call == "execveat" => cgroup.and_then(Cgroup::out_of_memory).map(memory),
        _ => None,
    }
}

/// Why a process that ended so may have done so. None for one that succeeded.
#[must_use]
pub fn of_exit(exit: Exit, pid: i32, cgroup: Option<&Cgroup>) -> Option<Cause> {
    match exit {
        Exit::Code(0) => None,
        Exit::Signal(SIGSYS) => Some(seccomp(pid)),
        Exit::Signal(SIGXFSZ) => Some(rlimit("RLIMIT_FSIZE", "it wrote more to a file than its limit is")),
        Exit::Signal(SIGXCPU) => Some(rlimit("RLIMIT_CPU", "it used more processor time than its limit is")),
        _ => cgroup.and_then(|cgroup| cgroup.out_of_memory().map(memory).or_else(|| cgroup.out_of_pids().map(|it| pids(&it)))),
    }
}

const SIGKILL: u8 = 9;
const SIGXCPU: u8 = 24;
const SIGXFSZ: u8 = 25;
const SIGSYS: u8 = 31;

fn memory(it: OutOfMemory) -> Cause {
    let peak = it.peak.map(|peak| format!(", of which {} were used at most", size(peak))).unwrap_or_default();
    match it.limit {
        Some(limit) => Cause {
            what: format!("out of memory: the limit of the container's cgroup is {}{peak}", size(limit)),
            at: Some(Pointer::to("/linux/resources/memory/limit")),
            hint: "raise the limit of memory, and that of swap with it",
        },
        None => Cause {
            what: "out of memory: a cgroup above the container's, or the machine, had none left".to_owned(),
            at: None,
            hint: "the limits of the cgroups above are in their memory.max (memory.limit_in_bytes on cgroup v1); the kernel's log names the one",
        },
    }
}

fn pids(it: &OutOfPids) -> Cause {
    let limit = it.limit;
    match &it.above {
        None => Cause {
            what: format!("out of processes: pids.max of the container's cgroup is {limit}"),
            at: Some(Pointer::to("/linux/resources/pids/limit")),
            hint: "raise the limit of processes: threads count as well, and -1 is no limit",
        },
        Some(cgroup) => Cause {
            what: format!("out of processes: pids.max of cgroup {cgroup:?} is {limit}"),
            at: None,
            hint: "the limit is that of all containers below that cgroup: raise it, or stop some",
        },
    }
}

/// Without a cgroup that would have refused it.
fn too_many() -> Cause {
    rlimit("RLIMIT_NPROC", "its user has as many processes as its limit is, or the machine has")
}

fn rlimit(name: &str, why: &str) -> Cause {
    Cause {
        what: format!("{name}: {why}"),
        at: Some(Pointer::to("/process/rlimits")),
        hint: "raise the limit in /process/rlimits; one that is not there is inherited from whoever runs aril",
    }
}

fn seccomp(pid: i32) -> Cause {
    let is_it = |record: &str| audited(record).is_some_and(|(of, _)| of == pid);
    // Who may not read the log learns nothing of the call.
    let record = sys::kmsg::find(LOGGED, is_it).ok().flatten();
    let call = record.as_deref().and_then(audited).map(|(_, call)| format!(": it called {call}")).unwrap_or_default();
    Cause {
        what: format!("SIGSYS: a seccomp filter killed it{call}"),
        at: Some(Pointer::to("/linux/seccomp")),
        hint: "allow the system call in the profile, or answer it with an errno: SCMP_ACT_ERRNO",
    }
}

/// The process and the call of an audit record of a seccomp filter, `type=1326 … pid=7 … sig=31 arch=c000003e syscall=110 …`.
fn audited(record: &str) -> Option<(i32, String)> {
    let record = &record[record.find("type=1326 ")?..];
    let value = |key: &str| record.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    if value("sig") != Some("31") {
        return None;
    }
    let (number, arch) = (value("syscall")?.parse::<usize>().ok()?, value("arch")?);
    let native = if cfg!(target_arch = "x86_64") { "c000003e" } else { "c00000b7" };
    let named = syscalls::Sysno::new(number).filter(|_| arch == native).map(|call| call.name().to_owned());
    Some((value("pid")?.parse().ok()?, named.unwrap_or_else(|| format!("system call {number} of architecture {arch}"))))
}

/// Bytes in the largest unit that leaves no rest.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::{Cause, audited, explained, memory, of_exit, pids, size};
    use crate::boot::Ended;
    use crate::cgroup::{OutOfMemory, OutOfPids};
    use crate::error::{Doing, Error};
    use crate::sys::process::Exit;
    use crate::sys::{self, Errno};

    #[test]
    fn audit_records() {
        let record = "5,1,2,-;audit: type=1326 audit(1795514969.466:152): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=14157 comm=\"sys\" \
                      exe=\"/tmp/sys\" sig=31 arch=c000003e syscall=110 compat=0 ip=0x7f2c66f9e4f7 code=0x80000000\n";
        #[cfg(target_arch = "x86_64")]
        assert_eq!(audited(record), Some((14157, "getppid".to_owned())));
        let foreign = audited(&record.replace("c000003e", "40000003")).expect("a record");
        assert_eq!(foreign.1, "system call 110 of architecture 40000003");
        assert_eq!(audited(&record.replace("sig=31", "sig=0")), None);
        assert_eq!(audited("audit: type=1400 pid=14157 sig=31 syscall=1"), None);
    }

    #[test]
    fn sentences() {
        let of = |cause: Cause| (cause.what, cause.at.map(|at| at.to_string()).unwrap_or_default());
        let (what, at) = of(memory(OutOfMemory { limit: Some(192 << 10), peak: Some(192 << 10) }));
        assert_eq!(what, "out of memory: the limit of the container's cgroup is 192 KiB, of which 192 KiB were used at most");
        assert_eq!(at, "/linux/resources/memory/limit");
        assert_eq!(of(memory(OutOfMemory { limit: None, peak: Some(1) })).1, "");
        let own = OutOfPids { limit: 0, above: None };
        assert_eq!(
            of(pids(&own)),
            ("out of processes: pids.max of the container's cgroup is 0".to_owned(), "/linux/resources/pids/limit".to_owned())
        );
        assert_eq!([size(0), size(1000), size(4096), size(3 << 20), size(1 << 30)], ["0 bytes", "1000 bytes", "4 KiB", "3 MiB", "1 GiB"]);
    }

    #[test]
    fn a_failure_is_explained_and_stays_what_it_was() {
        let refused = |call: &str, errno| -> Error {
            let failed: Result<(), _> = Err(sys::Error::new(call, "x", errno));
            failed.doing(|| "cannot start it".to_owned()).expect_err("it failed")
        };
        let error = explained(refused("execve", Errno::EAGAIN), None);
        assert!(error.chain().starts_with("RLIMIT_NPROC: ") && error.chain().contains("cannot start it: execve"), "{}", error.chain());
        assert_eq!((error.errno(), error.at().map(|at| at.as_str())), (Some(Errno::EAGAIN), Some("/process/rlimits")));
        for (call, errno) in [("execve", Errno::ENOENT), ("write", Errno::EAGAIN), ("mmap", Errno::ENOMEM)] {
            assert_eq!(explained(refused(call, errno), None).chain(), refused(call, errno).chain());
        }
        let ended = |how| Error::from(Ended { pid: i32::MAX, how, when: "amid its plan" });
        assert_eq!(explained(ended(None), None).chain(), "the container's first process ended amid its plan");
        let text = explained(ended(Some(Exit::Signal(25))), None).chain();
        assert!(text.starts_with("RLIMIT_FSIZE: ") && text.ends_with("was killed by signal 25 amid its plan"), "{text}");
    }

    #[test]
    fn only_a_failure_has_a_cause() {
        assert_eq!(of_exit(Exit::Code(0), 1, None), None);
        assert_eq!(of_exit(Exit::Signal(15), 1, None), None);
        assert!(of_exit(Exit::Signal(24), 1, None).is_some_and(|cause| cause.what.starts_with("RLIMIT_CPU")));
    }
}
