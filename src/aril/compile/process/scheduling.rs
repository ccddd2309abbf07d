//! `scheduler`, `ioPriority` and `execCPUAffinity`.

use crate::compile::list;
use crate::compile::plan::Plan;
use crate::config::spec::{IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler};
use crate::config::{Invalid, Pointer};
use crate::sys::sched::SchedAttr;
use aril_plan::{Ask, Op};

/// `NR_CPUS` of the largest kernels.
const CPUS_MAX: u32 = 8192;
/// The deadline scheduler counts in units of 2^10 nanoseconds.
const RUNTIME_MIN: u64 = 1 << 10;
/// Its times are compared as signed numbers.
const TIME_MAX: u64 = i64::MAX.unsigned_abs();

const SCHED_FLAG_UTIL_CLAMP_MIN: u64 = 0x20;
const SCHED_FLAG_UTIL_CLAMP_MAX: u64 = 0x40;

/// Has the host set the scheduling of the process, which stands at the pointer: it is a privilege of the machine's own root, which the executor may
/// have left behind with its user namespace. What cannot be is found here.
///
/// The later the better, since the executor is itself subject to it from then on.
///
/// # Errors
/// As of [`scheduler`] and [`io_priority`].
pub fn ask(plan: &mut Plan, process: &Process, at: &Pointer) -> Result<(), Invalid> {
    if let Some(wanted) = process.scheduler() {
        let at = at.of("scheduler");
        scheduler(wanted, &at)?;
        plan.warnings.extend(without_effect(wanted, &at));
        plan.part(&at, format!("cannot set the scheduling policy {}", wanted.policy()));
        plan.push(Op::Ask { what: Ask::Scheduler });
    }
    if let Some(wanted) = process.io_priority() {
        let at = at.of("ioPriority");
        io_priority(wanted, &at)?;
        plan.part(&at, format!("cannot set the I/O priority {} {}", wanted.class(), wanted.priority()));
        plan.push(Op::Ask { what: Ask::IoPriority });
    }
    Ok(())
}

/// What `sched_setattr(2)` takes for a scheduler that stands at the pointer.
///
/// # Errors
/// By the rules of sched(7): a nice value from -20 to 19; a priority from 1 to 99 for `SCHED_FIFO` and `SCHED_RR`, and for no other policy; for
/// `SCHED_DEADLINE` alone, and there always, runtime, deadline and period, each not above the next, where a period of 0 is the deadline.
/// `SCHED_ISO` has a number and no scheduler.
pub fn scheduler(wanted: &Scheduler, at: &Pointer) -> Result<SchedAttr, Invalid> {
    use LinuxSchedulerPolicy as Policy;
    let policy = *wanted.policy();
    let number = match policy {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => return Err(Invalid::new(&at.of("policy"), "SCHED_ISO is reserved: Linux has no such scheduler")),
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let nice = wanted.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Invalid::new(&at.of("nice"), format!("{nice} is no nice value (-20 to 19 are)")));
    }
    let (runtime, deadline, period) = deadline_times(wanted, at)?;
    Ok(SchedAttr {
        policy: number,
        flags: wanted.flags().iter().flatten().fold(0, |bits, flag| bits | bit(*flag)),
        nice,
        priority: priority(wanted, at)?,
        runtime,
        deadline,
        period,
        // The specification has no values to clamp to: these are those that clamp nothing.
        util_min: 0,
        util_max: 1024,
        ..SchedAttr::default()
    })
}

/// Whether a process with this scheduler cannot have children: with a deadline, unless they are of another policy.
#[must_use]
pub fn forbids_fork(wanted: &Scheduler) -> bool {
    let reset = wanted.flags().iter().flatten().any(|flag| *flag == LinuxSchedulerFlag::SchedResetOnFork);
    *wanted.policy() == LinuxSchedulerPolicy::SchedDeadline && !reset
}

fn priority(wanted: &Scheduler, at: &Pointer) -> Result<u32, Invalid> {
    use LinuxSchedulerPolicy as Policy;
    let (at, policy, priority) = (at.of("priority"), wanted.policy(), wanted.priority().unwrap_or(0));
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    match u32::try_from(priority) {
        Ok(0) if !real_time => Ok(0),
        Ok(n @ 1..=99) if real_time => Ok(n),
        _ if real_time => Err(Invalid::new(&at, format!("{policy} needs a priority from 1 to 99, and {priority} is given"))),
        _ => Err(Invalid::new(&at, format!("{policy} has no priority, but {priority} is given: SCHED_FIFO and SCHED_RR have one"))),
    }
}

fn deadline_times(wanted: &Scheduler, at: &Pointer) -> Result<(u64, u64, u64), Invalid> {
    let times = [("runtime", wanted.runtime()), ("deadline", wanted.deadline()), ("period", wanted.period())];
    let [runtime, deadline, period] = times.map(|(_, time)| time.unwrap_or(0));
    if *wanted.policy() != LinuxSchedulerPolicy::SchedDeadline {
        return match times.into_iter().find(|(_, time)| time.is_some_and(|time| time != 0)) {
            Some((name, _)) => Err(Invalid::new(&at.of(name), format!("{} has no {name}: SCHED_DEADLINE has one", wanted.policy()))),
            None => Ok((0, 0, 0)),
        };
    }
    let wrong = |name: &str, why: String| Err(Invalid::new(&at.of(name), why));
    if runtime < RUNTIME_MIN {
        return wrong("runtime", format!("SCHED_DEADLINE needs a runtime of at least {RUNTIME_MIN} ns, and {runtime} is given"));
    }
    if deadline < runtime || deadline > TIME_MAX {
        return wrong(
            "deadline",
            format!("the deadline of {deadline} ns is before the end of the runtime of {runtime} ns, or out of range"),
        );
    }
    if period != 0 && (period < deadline || period > TIME_MAX) {
        return wrong("period", format!("the period of {period} ns ends before the deadline of {deadline} ns, or is out of range"));
    }
    Ok((runtime, deadline, period))
}

/// `SCHED_FLAG_*` of `linux/sched.h`.
fn bit(flag: LinuxSchedulerFlag) -> u64 {
    use LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => SCHED_FLAG_UTIL_CLAMP_MAX,
    }
}

/// What is asked for and makes no difference, a sentence each.
fn without_effect(wanted: &Scheduler, at: &Pointer) -> Vec<String> {
    use LinuxSchedulerPolicy as Policy;
    let mut warnings = Vec::new();
    let (policy, nice) = (wanted.policy(), wanted.nice().unwrap_or(0));
    if nice != 0 && !matches!(policy, Policy::SchedOther | Policy::SchedBatch) {
        warnings.push(format!("nice value {nice} is without effect: {policy} has none ({})", at.of("nice")));
    }
    for (i, flag) in wanted.flags().iter().flatten().enumerate() {
        if bit(*flag) & (SCHED_FLAG_UTIL_CLAMP_MIN | SCHED_FLAG_UTIL_CLAMP_MAX) != 0 {
            let why = "utilization is clamped to nothing: the specification has no value for it";
            warnings.push(format!("{why} ({})", at.of("flags").of(i)));
        }
    }
    warnings
}

/// What `ioprio_set(2)` takes for a priority that stands at the pointer.
///
/// # Errors
/// The priority is not one from 0 (highest) to 7.
pub fn io_priority(wanted: &LinuxIOPriority, at: &Pointer) -> Result<u16, Invalid> {
    const IOPRIO_CLASS_SHIFT: u16 = 13;
    let class: u16 = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(wanted.priority()) {
        Ok(level @ 0..=7) => Ok(class << IOPRIO_CLASS_SHIFT | level),
        _ => Err(Invalid::new(&at.of("priority"), format!("{} is no I/O priority (0 to 7 are)", wanted.priority()))),
    }
}

/// On which CPUs a process that `exec` starts is to run, each a bit mask as of [`list::mask`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Before it is in the container's cgroup. Empty: as its parent.
    pub initial: Vec<u64>,
    /// From then on. Empty: where the kernel puts it.
    pub last: Vec<u64>,
}

/// Reads `execCPUAffinity` of a process that stands at the pointer. To the container's first process it does not apply.
///
/// # Errors
/// A list of CPUs is none.
pub fn affinity(process: &Process, at: &Pointer) -> Result<Affinity, Invalid> {
    let Some(wanted) = process.exec_cpu_affinity() else { return Ok(Affinity::default()) };
    let at = at.of("execCPUAffinity");
    let mask = |text: &Option<String>, key: &str| list::mask(text.as_deref().unwrap_or_default(), "CPU", CPUS_MAX, &at.of(key));
    Ok(Affinity { initial: mask(wanted.initial(), "initial")?, last: mask(wanted.cpu_affinity_final(), "final")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn scheduled(scheduler: Value) -> Result<SchedAttr, Invalid> {
        let wanted: Scheduler = serde_json::from_value(scheduler).expect("the types are right");
        super::scheduler(&wanted, &Pointer::to("/process/scheduler"))
    }

    #[test]
    fn each_policy_is_what_the_kernel_takes() {
        let plain = SchedAttr { util_max: 1024, ..SchedAttr::default() };
        for (wanted, attr) in [
            (json!({"policy": "SCHED_OTHER", "nice": -20}), SchedAttr { nice: -20, ..plain }),
            (json!({"policy": "SCHED_BATCH", "nice": 19}), SchedAttr { policy: 3, nice: 19, ..plain }),
            (json!({"policy": "SCHED_IDLE"}), SchedAttr { policy: 5, ..plain }),
            (json!({"policy": "SCHED_FIFO", "priority": 1}), SchedAttr { policy: 1, priority: 1, ..plain }),
            (
                json!({"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_RESET_ON_FORK"]}),
                SchedAttr { policy: 2, priority: 99, flags: 1, ..plain },
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2048, "period": 4096, "flags": ["SCHED_FLAG_RECLAIM"]}),
                SchedAttr { policy: 6, runtime: 1024, deadline: 2048, period: 4096, flags: 2, ..plain },
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024}),
                SchedAttr { policy: 6, runtime: 1024, deadline: 1024, ..plain },
            ),
        ] {
            assert_eq!(scheduled(wanted.clone()), Ok(attr), "{wanted}");
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_place() {
        for (wanted, key) in [
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "nice"),
            (json!({"policy": "SCHED_OTHER", "nice": -21}), "nice"),
            (json!({"policy": "SCHED_OTHER", "priority": 1}), "priority"),
            (json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024, "priority": 1}), "priority"),
            (json!({"policy": "SCHED_FIFO"}), "priority"),
            (json!({"policy": "SCHED_RR", "priority": 100}), "priority"),
            (json!({"policy": "SCHED_RR", "priority": -1}), "priority"),
            (json!({"policy": "SCHED_BATCH", "runtime": 5000}), "runtime"),
            (json!({"policy": "SCHED_IDLE", "period": 5000}), "period"),
            (json!({"policy": "SCHED_DEADLINE"}), "runtime"),
            (json!({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4999}), "deadline"),
            (json!({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 5000, "period": 4999}), "period"),
            (json!({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": u64::MAX}), "deadline"),
            (json!({"policy": "SCHED_ISO"}), "policy"),
        ] {
            let error = scheduled(wanted.clone()).expect_err(&wanted.to_string());
            assert_eq!(error.at.as_str(), format!("/process/scheduler/{key}"), "{wanted}");
        }
    }

    #[test]
    fn what_makes_no_difference_is_warned_of() {
        let warned = |wanted: Value| {
            let wanted: Scheduler = serde_json::from_value(wanted).expect("the types are right");
            without_effect(&wanted, &Pointer::to("/s")).join("\n")
        };
        assert_eq!(warned(json!({"policy": "SCHED_OTHER", "nice": 5, "flags": ["SCHED_RESET_ON_FORK"]})), "");
        assert!(warned(json!({"policy": "SCHED_IDLE", "nice": 5})).ends_with("(/s/nice)"));
        assert!(warned(json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MAX"]})).ends_with("(/s/flags/0)"));
    }

    #[test]
    fn classes_and_levels_share_a_word() {
        let of = |class: &str, priority: i64| {
            let wanted: LinuxIOPriority =
                serde_json::from_value(json!({"class": class, "priority": priority})).expect("the types are right");
            io_priority(&wanted, &Pointer::to("/process/ioPriority"))
        };
        assert_eq!(of("IOPRIO_CLASS_RT", 0), Ok(0x2000));
        assert_eq!(of("IOPRIO_CLASS_BE", 7), Ok(0x4007));
        assert_eq!(of("IOPRIO_CLASS_IDLE", 4), Ok(0x6004));
        for wrong in [-1, 8, 1 << 13] {
            assert_eq!(of("IOPRIO_CLASS_BE", wrong).expect_err("out of range").at.as_str(), "/process/ioPriority/priority");
        }
    }

    #[test]
    fn affinity_is_two_masks() {
        let of = |affinity: Value| {
            let process = json!({"cwd": "/", "user": {}, "execCPUAffinity": affinity});
            super::affinity(&serde_json::from_value(process).expect("the types are right"), &Pointer::to("/process"))
        };
        assert_eq!(of(json!({"initial": "1", "final": "0-1"})), Ok(Affinity { initial: vec![2], last: vec![3] }));
        assert_eq!(of(json!({})), Ok(Affinity::default()));
        assert_eq!(of(Value::Null), Ok(Affinity::default()));
        assert_eq!(of(json!({"final": "2-1"})).expect_err("backwards").at.as_str(), "/process/execCPUAffinity/final");
        assert_eq!(of(json!({"initial": "8192"})).expect_err("too many").at.as_str(), "/process/execCPUAffinity/initial");
    }
}
