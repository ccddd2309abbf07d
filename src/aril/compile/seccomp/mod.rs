//! Seccomp: a profile becomes the program that the kernel runs at each system call.

mod bpf;
pub mod cache;
mod listener;
pub mod names;
mod ranges;
pub mod raw;
mod section;
#[cfg(test)]
mod tests;

pub use listener::Listener;

use crate::config::spec::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use crate::config::{Invalid, Pointer};
use crate::sys::{self, Errno};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io::{Read as _, Seek as _};

/// What `seccomp(SECCOMP_SET_MODE_FILTER)` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// An array of `struct sock_filter`.
    pub program: Vec<u8>,
    /// A sentence for each thing that is without effect.
    pub warnings: Vec<String>,
}

/// From so many rules on, the filter looks for a system call in a binary tree instead of in a row.
const TREE_MIN: usize = 9;
/// `MAX_ERRNO` of the kernel.
const ERRNO_MAX: u32 = 4095;
/// The data of `SECCOMP_RET_TRACE` has 16 bits.
const TRACE_MAX: u32 = 0xffff;
/// What is answered where the profile names no error.
const ERRNO_DEFAULT: u32 = libc::EPERM.unsigned_abs();

/// The architectures by their names in the specification, whose numbers are the kernel's `AUDIT_ARCH_*` (but for x32).
const ARCHITECTURES: [(Arch, ScmpArch); 23] = [
    (Arch::ScmpArchX86, ScmpArch::X86),
    (Arch::ScmpArchX86_64, ScmpArch::X8664),
    (Arch::ScmpArchX32, ScmpArch::X32),
    (Arch::ScmpArchArm, ScmpArch::Arm),
    (Arch::ScmpArchAarch64, ScmpArch::Aarch64),
    (Arch::ScmpArchMips, ScmpArch::Mips),
    (Arch::ScmpArchMips64, ScmpArch::Mips64),
    (Arch::ScmpArchMips64n32, ScmpArch::Mips64N32),
    (Arch::ScmpArchMipsel, ScmpArch::Mipsel),
    (Arch::ScmpArchMipsel64, ScmpArch::Mipsel64),
    (Arch::ScmpArchMipsel64n32, ScmpArch::Mipsel64N32),
    (Arch::ScmpArchPpc, ScmpArch::Ppc),
    (Arch::ScmpArchPpc64, ScmpArch::Ppc64),
    (Arch::ScmpArchPpc64le, ScmpArch::Ppc64Le),
    (Arch::ScmpArchS390, ScmpArch::S390),
    (Arch::ScmpArchS390x, ScmpArch::S390X),
    (Arch::ScmpArchParisc, ScmpArch::Parisc),
    (Arch::ScmpArchParisc64, ScmpArch::Parisc64),
    (Arch::ScmpArchRiscv64, ScmpArch::Riscv64),
    (Arch::ScmpArchLoongarch64, ScmpArch::Loongarch64),
    (Arch::ScmpArchM68k, ScmpArch::M68k),
    (Arch::ScmpArchSh, ScmpArch::Sh),
    (Arch::ScmpArchSheb, ScmpArch::Sheb),
];

/// An architecture to filter, and where the profile names it.
struct Architecture {
    at: Pointer,
    spec: Arch,
    scmp: ScmpArch,
}

/// What is to become of a system call.
struct Rule {
    at: Pointer,
    name: String,
    /// Its number here; that on other architectures follows from it.
    call: ScmpSyscall,
    action: ScmpAction,
    /// All have to hold.
    conditions: Vec<ScmpArgCompare>,
}

/// Compiles the profile that stands at a pointer.
///
/// System calls that are not known are passed over, as profiles name those of other kernels. Those that are newer than all that the profile
/// names are answered ENOSYS where its default would be another refusal. Calls of an architecture that is neither native nor named kill the
/// thread.
///
/// # Errors
/// The profile asks for the notify action and has nobody to notify, or would have the executor wait for that; for an error where the action has none or which is none, for an argument that
/// no system call has, for an architecture that cannot be filtered here, or for more than the kernel takes.
pub fn resolve(seccomp: &LinuxSeccomp, at: &Pointer) -> Result<Filter, Invalid> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret(), &at.of("defaultErrnoRet"))?;
    let syscalls = seccomp.syscalls().as_deref().unwrap_or_default();
    let mut rules = Vec::new();
    for (i, syscall) in syscalls.iter().enumerate() {
        add_rules(&mut rules, syscall, &at.of("syscalls").of(i))?;
    }
    let mut program = Vec::new();
    for architecture in architectures(seccomp, at) {
        let last = if section::hides_newer(default) { last(architecture.scmp, &rules) } else { None };
        let body = ranges::shortened(body(default, &architecture, &rules)?, section::audit(architecture.spec));
        section::append(&mut program, architecture.spec, last, &body);
    }
    section::end(&mut program);
    let length = program.len() / bpf::LEN;
    if length > bpf::INSTRUCTIONS_MAX {
        let why = format!("the seccomp profile needs {length} instructions, more than the kernel takes ({})", bpf::INSTRUCTIONS_MAX);
        return Err(Invalid::new(at, why));
    }
    let notifies = default == ScmpAction::Notify || rules.iter().any(|rule| rule.action == ScmpAction::Notify);
    let mut warnings = Vec::new();
    let flags = flags(seccomp, notifies, &at.of("flags"), &mut warnings);
    let filter = Filter { flags, program, warnings };
    listener::check(seccomp, notifies, &filter, &rules, at)?;
    Ok(filter)
}

/// Which of these system calls the filter does not let through, whatever their arguments are (all of them 0 here): those that the executor
/// makes between loading the filter and the user's program.
#[must_use]
pub fn refused<'n>(filter: &Filter, names: &[&'n str]) -> Vec<&'n str> {
    names.iter().copied().filter(|name| !matches!(verdict(filter, name), Some(RETURN_LOG | RETURN_ALLOW))).collect()
}

const RETURN_NOTIFY: u32 = 0x7fc0_0000;
const RETURN_LOG: u32 = 0x7ffc_0000;
const RETURN_ALLOW: u32 = 0x7fff_0000;

/// What the filter says to a native system call whose arguments are all 0.
fn verdict(filter: &Filter, name: &str) -> Option<u32> {
    let native = ScmpArch::native();
    let (arch, _) = ARCHITECTURES.iter().find(|(_, scmp)| *scmp == native)?;
    let number = ScmpSyscall::from_name(name).ok().and_then(|call| u32::try_from(call.as_raw_syscall()).ok());
    // What this library does not know no profile can have named: it is answered as the next unknown one.
    bpf::verdict(&filter.program, *arch as u32, number.unwrap_or(0x3fff_ffff), [0; 6])
}

fn action(action: LinuxSeccompAction, errno: Option<u32>, at_errno: &Pointer) -> Result<ScmpAction, Invalid> {
    use LinuxSeccompAction as Action;
    let data = |max: u32| match errno.unwrap_or(ERRNO_DEFAULT) {
        errno if errno > max => Err(Invalid::new(at_errno, format!("{errno} is no error (0 to {max} are)"))),
        errno => Ok(u16::try_from(errno).unwrap_or(u16::MAX)),
    };
    let resolved = match action {
        Action::ScmpActErrno => return Ok(ScmpAction::Errno(data(ERRNO_MAX)?.into())),
        Action::ScmpActTrace => return Ok(ScmpAction::Trace(data(TRACE_MAX)?)),
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => ScmpAction::Notify,
    };
    match errno {
        None => Ok(resolved),
        Some(errno) => Err(Invalid::new(at_errno, format!("{action} answers no error, but {errno} is given"))),
    }
}

/// The native architecture and those that the profile names.
fn architectures(seccomp: &LinuxSeccomp, at: &Pointer) -> Vec<Architecture> {
    let native = ScmpArch::native();
    let row = ARCHITECTURES.iter().find(|(_, scmp)| *scmp == native);
    let mut all: Vec<_> = row.map(|(spec, scmp)| Architecture { at: at.clone(), spec: *spec, scmp: *scmp }).into_iter().collect();
    for (i, arch) in seccomp.architectures().iter().flatten().enumerate() {
        let Some((spec, scmp)) = ARCHITECTURES.into_iter().find(|(known, _)| known == arch) else { continue };
        if all.iter().all(|other| other.spec != spec) {
            all.push(Architecture { at: at.of("architectures").of(i), spec, scmp });
        }
    }
    all
}

fn add_rules(rules: &mut Vec<Rule>, syscall: &LinuxSyscall, at: &Pointer) -> Result<(), Invalid> {
    if syscall.names().is_empty() {
        return Err(Invalid::new(&at.of("names"), "names must not be empty"));
    }
    let action = action(syscall.action(), syscall.errno_ret(), &at.of("errnoRet"))?;
    let alternatives = alternatives(syscall, &at.of("args"))?;
    for (i, name) in syscall.names().iter().enumerate() {
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        for conditions in &alternatives {
            let at = at.of("names").of(i);
            rules.push(Rule { at, name: name.clone(), call, action, conditions: conditions.clone() });
        }
    }
    Ok(())
}

/// The filter of one architecture.
fn body(default: ScmpAction, architecture: &Architecture, rules: &[Rule]) -> Result<Vec<u8>, Invalid> {
    let wrong = |what: &str, error: &SeccompError| Invalid::new(&architecture.at, format!("cannot filter {what}: {error}"));
    let mut filter = ScmpFilterContext::new(default).map_err(|error| wrong("system calls", &error))?;
    // Errors of system calls as they are: without it the library has one code for them all.
    let _ = filter.set_api_sysrawrc(true);
    if architecture.scmp != ScmpArch::native() {
        let changed = filter.add_arch(architecture.scmp).and_then(|filter| filter.remove_arch(ScmpArch::Native)).map(|_| ());
        changed.map_err(|error| wrong(&format!("system calls of {}", architecture.spec), &error))?;
    }
    // The library refuses a rule that says what the default says.
    for rule in rules.iter().filter(|rule| rule.action != default) {
        filter
            .add_rule_conditional(rule.action, rule.call, &rule.conditions)
            .map_err(|error| Invalid::new(&rule.at, format!("cannot filter system call {:?}: {error}", rule.name)))?;
    }
    if rules.len() >= TREE_MIN {
        // Only the speed depends on it.
        let _ = filter.set_ctl_optimize(2);
    }
    export(&filter).map_err(|why| Invalid::new(&architecture.at, format!("cannot compile the seccomp profile: {why}")))
}

/// The greatest number of a system call that the profile names.
fn last(arch: ScmpArch, rules: &[Rule]) -> Option<u32> {
    let number = |rule: &Rule| u32::try_from(ScmpSyscall::from_name_by_arch(&rule.name, arch).ok()?.as_raw_syscall()).ok();
    rules.iter().filter_map(number).max()
}

/// The conditions on the arguments: all of one alternative have to hold. Conditions on different arguments are one alternative; where two
/// are on the same argument each is an alternative of its own, as in the other runtimes, since the kernel library takes one for each.
fn alternatives(syscall: &LinuxSyscall, at: &Pointer) -> Result<Vec<Vec<ScmpArgCompare>>, Invalid> {
    let mut conditions = Vec::new();
    let mut indexes = Vec::new();
    for (i, arg) in syscall.args().iter().flatten().enumerate() {
        let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
        let index = index.ok_or_else(|| Invalid::new(&at.of(i).of("index"), format!("a system call has no argument {}", arg.index())))?;
        conditions.push(condition(index, arg));
        indexes.push(index);
    }
    indexes.sort_unstable();
    let repeated = indexes.windows(2).any(|pair| pair[0] == pair[1]);
    Ok(if repeated { conditions.into_iter().map(|condition| vec![condition]).collect() } else { vec![conditions] })
}

fn condition(index: u32, arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use LinuxSeccompOperator as Operator;
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)),
    };
    ScmpArgCompare::new(index, operator, value)
}

/// The flags. Where the profile has no list of them, speculation is allowed, as runc and crun do: it costs little safety and much time.
fn flags(seccomp: &LinuxSeccomp, notifies: bool, at: &Pointer, warnings: &mut Vec<String>) -> u32 {
    use LinuxSeccompFilterFlag as Flag;
    let default = vec![Flag::SeccompFilterFlagSpecAllow];
    let mut bits = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    for (i, flag) in seccomp.flags().as_ref().unwrap_or(&default).iter().enumerate() {
        bits |= match flag {
            // With a listener the kernel cannot return the thread that is in the way.
            Flag::SeccompFilterFlagTsync if notifies => libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if notifies => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            // The kernel takes it only with a listener.
            Flag::SeccompFilterFlagWaitKillableRecv => {
                warnings.push(format!("{flag} is without effect in a profile that notifies nobody ({})", at.of(i)));
                0
            }
        };
    }
    u32::try_from(bits).unwrap_or(u32::MAX)
}

/// The program. The library writes it to a file only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, String> {
    // Where vm.memfd_noexec=2, a file that could be executed is refused; before Linux 6.3 there is no other.
    let sealed = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let memory = memfd_create(c"seccomp", sealed)
        .or_else(|_| memfd_create(c"seccomp", MFdFlags::MFD_CLOEXEC))
        .map_err(|errno| format!("memfd_create: {}", errno.desc()))?;
    filter.export_bpf(&memory).map_err(|error| match error.sysrawrc() {
        Some(errno) => sys::Error::bare("seccomp_export_bpf", Errno::from_raw(errno.abs())).to_string(),
        None => error.to_string(),
    })?;
    let mut file = std::fs::File::from(memory);
    let mut program = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(|error| sys::Error::bare("read", sys::fs::errno(&error)).to_string())?;
    Ok(program)
}
