use super::*;
use serde_json::{Value, json};

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const EPERM: u32 = 0x0005_0001;
const EACCES: u32 = 0x0005_000d;
const ENOSYS: u32 = 0x0005_0026;

fn resolved(profile: Value) -> Result<Filter, Invalid> {
    let seccomp: LinuxSeccomp = serde_json::from_value(profile).expect("the profile is valid JSON");
    resolve(&seccomp, &Pointer::to("/linux/seccomp"))
}

/// A filter that is asked about system calls by name.
struct Asked(Filter);

impl Asked {
    fn new(profile: Value) -> Self {
        Asked(resolved(profile).expect("the profile is valid"))
    }

    fn arch(&self, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
        let scmp = ARCHITECTURES.iter().find(|(known, _)| *known == arch).expect("the architecture is known").1;
        let number = ScmpSyscall::from_name_by_arch(name, scmp).expect("the system call is known").as_raw_syscall();
        self.number(arch, u32::try_from(number).expect("the architecture has the system call"))(args)
    }

    fn number(&self, arch: Arch, number: u32) -> impl Fn([u64; 6]) -> u32 {
        // x32 is x86-64 to the kernel.
        let audit = if arch == Arch::ScmpArchX32 { Arch::ScmpArchX86_64 } else { arch };
        move |args| bpf::verdict(&self.0.program, audit as u32, number, args).expect("the program ends")
    }

    fn native(&self, name: &str, args: [u64; 6]) -> u32 {
        self.arch(native(), name, args)
    }

    fn first(&self, name: &str, arg: u64) -> u32 {
        self.native(name, [arg, 0, 0, 0, 0, 0])
    }
}

fn native() -> Arch {
    ARCHITECTURES.iter().find(|(_, scmp)| *scmp == ScmpArch::native()).expect("the architecture is known").0
}

#[test]
fn every_action_does_what_it_says() {
    for (action, verdict) in [
        ("SCMP_ACT_KILL", KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
        ("SCMP_ACT_TRAP", TRAP),
        ("SCMP_ACT_ERRNO", EPERM),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", LOG),
    ] {
        let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpid"], "action": action}]}));
        assert_eq!((asked.first("getpid", 0), asked.first("getppid", 0)), (verdict, ALLOW), "{action}");
    }
    let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["getpid", "gettid"], "action": "SCMP_ACT_ALLOW"}, {"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]}));
    assert_eq!((asked.first("getpid", 0), asked.first("gettid", 0), asked.first("personality", 0)), (ALLOW, ALLOW, EPERM));
}

#[test]
fn errors_are_those_that_are_named() {
    let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "syscalls": [
        {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["gettid"], "action": "SCMP_ACT_TRACE", "errnoRet": 7},
        {"names": ["perf_event_open"], "action": "SCMP_ACT_ALLOW"}]}));
    assert_eq!(asked.first("getpid", 0), ENOSYS);
    assert_eq!(asked.first("gettid", 0), 0x7ff0_0007);
    assert_eq!(asked.first("getppid", 0), EACCES);
}

#[test]
fn operators_compare_all_64_bits() {
    const BIG: u64 = 1 << 40;
    for (op, value, two, yes, no) in [
        ("SCMP_CMP_NE", BIG, 0, [0, BIG + 1], [BIG, BIG]),
        ("SCMP_CMP_LT", BIG, 0, [0, BIG - 1], [BIG, u64::MAX]),
        ("SCMP_CMP_LE", BIG, 0, [0, BIG], [BIG + 1, u64::MAX]),
        ("SCMP_CMP_EQ", BIG, 0, [BIG, BIG], [0, BIG + 1]),
        ("SCMP_CMP_GE", BIG, 0, [BIG, u64::MAX], [0, BIG - 1]),
        ("SCMP_CMP_GT", BIG, 0, [BIG + 1, u64::MAX], [0, BIG]),
        ("SCMP_CMP_MASKED_EQ", BIG | 0xf0, 0x10, [0x10, 0x1f], [BIG | 0x10, 0x20]),
    ] {
        let asked =
            Asked::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": value, "valueTwo": two, "op": op}]}]}));
        for arg in yes {
            assert_eq!(asked.first("personality", arg), EPERM, "{arg:#x} {op} {value:#x}");
        }
        for arg in no {
            assert_eq!(asked.first("personality", arg), ALLOW, "not {arg:#x} {op} {value:#x}");
        }
    }
}

#[test]
fn conditions_on_different_arguments_all_hold_and_on_the_same_any() {
    let rule = |first: u32, second: u32| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": first, "value": 10, "op": "SCMP_CMP_EQ"}, {"index": second, "value": 20, "op": "SCMP_CMP_EQ"}]}]})
    };
    let both = Asked::new(rule(0, 1));
    assert_eq!(both.native("socket", [10, 20, 0, 0, 0, 0]), EPERM);
    assert_eq!(both.native("socket", [10, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(both.native("socket", [0, 20, 0, 0, 0, 0]), ALLOW);
    let any = Asked::new(rule(1, 1));
    assert_eq!(any.native("socket", [0, 10, 0, 0, 0, 0]), EPERM);
    assert_eq!(any.native("socket", [0, 20, 0, 0, 0, 0]), EPERM);
    assert_eq!(any.native("socket", [0, 30, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn rules_for_one_call_add_up() {
    let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}));
    assert_eq!([0, 8, 9].map(|arg| asked.first("personality", arg)), [ALLOW, ALLOW, EPERM]);
}

#[test]
fn other_architectures_are_filtered_by_their_own_numbers() {
    let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["getpid", "waitpid"], "action": "SCMP_ACT_ERRNO"}]}));
    for arch in [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32, Arch::ScmpArchAarch64] {
        assert_eq!((asked.arch(arch, "getpid", [0; 6]), asked.arch(arch, "getppid", [0; 6])), (EPERM, ALLOW), "{arch}");
    }
    // The native architecture does not have it.
    assert_eq!(asked.arch(Arch::ScmpArchX86, "waitpid", [0; 6]), EPERM);
    // One that is not named is refused whatever the call.
    assert_eq!(asked.arch(Arch::ScmpArchRiscv64, "getppid", [0; 6]), KILL_THREAD);
    assert_eq!(asked.arch(Arch::ScmpArchRiscv64, "getpid", [0; 6]), KILL_THREAD);
}

#[test]
fn the_library_alone_answers_the_same() {
    let names = ["read", "write", "personality", "openat", "clone", "waitpid", "socketcall", "mmap"];
    let rules = ["personality", "clone"].map(|name| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_GE"}]})
    });
    let asked =
        Asked::new(json!({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "write", "waitpid", "socketcall"], "action": "SCMP_ACT_ALLOW"}, rules[0], rules[1]]}));
    let mut whole = ScmpFilterContext::new(ScmpAction::Log).expect("a filter");
    for arch in [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32] {
        if !whole.is_arch_present(arch).expect("an answer") {
            whole.add_arch(arch).expect("an architecture");
        }
    }
    let number = |name| ScmpSyscall::from_name(name).expect("a system call");
    for name in ["read", "write", "waitpid", "socketcall"] {
        whole.add_rule(ScmpAction::Allow, number(name)).expect("a rule");
    }
    for name in ["personality", "clone"] {
        let condition = ScmpArgCompare::new(0, ScmpCompareOp::GreaterEqual, 8);
        whole.add_rule_conditional(ScmpAction::Errno(13), number(name), &[condition]).expect("a rule");
    }
    let whole = export(&whole).expect("a program");
    for (arch, scmp) in [(Arch::ScmpArchX86_64, ScmpArch::X8664), (Arch::ScmpArchX86, ScmpArch::X86), (Arch::ScmpArchX32, ScmpArch::X32)] {
        let audit = if arch == Arch::ScmpArchX32 { Arch::ScmpArchX86_64 } else { arch };
        let by_name = names.iter().filter_map(|name| ScmpSyscall::from_name_by_arch(name, scmp).ok());
        let numbers = by_name.filter_map(|call| u32::try_from(call.as_raw_syscall()).ok());
        for number in numbers.chain([0, 999, 0x3fff_ffff, 0x4000_0000, 0x4000_03e7, u32::MAX]) {
            for arg in [0, 8] {
                let args = [arg, 0, 0, 0, 0, 0];
                assert_eq!(
                    asked.number(arch, number)(args),
                    bpf::verdict(&whole, audit as u32, number, args).expect("it ends"),
                    "{arch} {number}"
                );
            }
        }
    }
}

#[test]
fn calls_that_are_not_known_are_passed_over() {
    let profile = |names: &[&str]| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]});
    let known = resolved(profile(&["getpid"])).expect("the profile is valid");
    let long = "x".repeat(100);
    assert_eq!(resolved(profile(&["getpid", "teleport", "", "a\0", &long])).expect("unknown names are no error"), known);
}

#[test]
fn many_rules_answer_as_few_do() {
    let names: Vec<&str> =
        "read write close fstat lseek mmap mprotect munmap brk ioctl pread64 pwrite64 readv writev mremap dup nanosleep \
        getpid socket connect accept sendto recvfrom shutdown bind listen clone execve exit kill uname fcntl flock fsync"
            .split_whitespace()
            .collect();
    let asked = Asked::new(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}, {"names": ["mseal", "execveat"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["chroot"], "action": "SCMP_ACT_KILL_PROCESS"}]}));
    for arch in [Arch::ScmpArchX86_64, Arch::ScmpArchAarch64] {
        for name in &names {
            assert_eq!(asked.arch(arch, name, [0; 6]), ALLOW, "{name} on {arch}");
        }
        assert_eq!(asked.arch(arch, "chroot", [0; 6]), KILL_PROCESS);
        assert_eq!(asked.arch(arch, "getppid", [0; 6]), EPERM);
    }
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let profile = |default: &str, architectures: &[&str]| {
        json!({"defaultAction": default, "architectures": architectures,
            "syscalls": [{"names": ["read", "perf_event_open"], "action": "SCMP_ACT_ALLOW"}]})
    };
    for (default, refusal) in
        [("SCMP_ACT_ERRNO", EPERM), ("SCMP_ACT_KILL", KILL_THREAD), ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS), ("SCMP_ACT_TRAP", TRAP)]
    {
        let asked = Asked::new(profile(default, &["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86"]));
        for (arch, last) in
            [(Arch::ScmpArchX86_64, 298), (Arch::ScmpArchX32, 0x4000_0000 | 298), (Arch::ScmpArchX86, 336), (Arch::ScmpArchAarch64, 241)]
        {
            assert_eq!(asked.number(arch, last)([0; 6]), ALLOW, "{arch}");
            assert_eq!(asked.number(arch, last - 1)([0; 6]), refusal, "{default} {arch}");
            assert_eq!(asked.number(arch, last + 1)([0; 6]), ENOSYS, "{default} {arch}");
            assert_eq!(asked.number(arch, last + 999)([0; 6]), ENOSYS, "{default} {arch}");
            assert_eq!(asked.number(arch, u32::MAX)([0; 6]), refusal, "a call that a tracer skips, {arch}");
        }
    }
    let asked = Asked::new(profile("SCMP_ACT_ERRNO", &["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]));
    assert_eq!(asked.number(Arch::ScmpArchX32, 0x4000_0000 | 298)([0; 6]), KILL_THREAD, "x32 is not named");
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let asked = Asked::new(profile(default, &[]));
        assert_ne!(asked.number(native(), 999)([0; 6]), ENOSYS, "{default}");
    }
}

#[test]
fn flags_are_the_kernels() {
    let flags = |flags: Value| resolved(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).expect("the profile is valid");
    assert_eq!(flags(Value::Null).flags, 4, "speculation is allowed by default");
    assert_eq!(flags(json!([])).flags, 0);
    let all = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
    assert_eq!((flags(json!(all)).flags, flags(json!(all)).warnings.len()), (7, 0));
    let filter = flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    assert_eq!((filter.flags, filter.warnings.len()), (0, 1));
    assert!(filter.warnings[0].ends_with("(/linux/seccomp/flags/0)"), "{:?}", filter.warnings);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    for (profile, place) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "/listenerPath"),
        (json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/agent"}), ""),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}), "/listenerMetadata"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}), "/defaultErrnoRet"),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}), "/defaultErrnoRet"),
        (rule(json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})), "/listenerPath"),
        (rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 0})), "/syscalls/0/errnoRet"),
        (rule(json!({"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536})), "/syscalls/0/errnoRet"),
        (rule(json!({"names": [], "action": "SCMP_ACT_KILL"})), "/syscalls/0/names"),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})),
            "/syscalls/0/args/0/index",
        ),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]}), "/architectures/0"),
    ] {
        let error = resolved(profile).expect_err(place);
        assert_eq!(error.at.as_str(), format!("/linux/seccomp{place}"), "{error}");
    }
}

#[test]
fn the_executors_own_calls_are_checked() {
    let filter = resolved(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["execve", "exit"], "action": "SCMP_ACT_ALLOW"}, {"names": ["close"], "action": "SCMP_ACT_LOG"}]}));
    let filter = filter.expect("the profile is valid");
    assert_eq!(refused(&filter, &["write", "execve", "close", "close_range", "exit"]), ["write", "close_range"]);
}

/// A profile with an agent, and these rules.
fn notified(default: &str, rules: Value) -> Result<Filter, Invalid> {
    resolved(json!({"defaultAction": default, "syscalls": rules, "listenerPath": "/agent", "listenerMetadata": "m",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]}))
}

#[test]
fn a_filter_that_notifies_has_a_listener() {
    const NOTIFY: u32 = 0x7fc0_0000;
    let filter = notified("SCMP_ACT_ALLOW", json!([{"names": ["mkdir", "read"], "action": "SCMP_ACT_NOTIFY"}]));
    let asked = Asked(filter.expect("the profile is valid"));
    assert_eq!((asked.native("mkdir", [0; 6]), asked.native("read", [0; 6]), asked.native("write", [0; 6])), (NOTIFY, NOTIFY, ALLOW));
    assert_eq!((asked.0.flags, asked.0.warnings.len()), (8 | 32 | 1 | 16, 0));
    let nobody = notified("SCMP_ACT_ALLOW", json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}])).expect("the path is not used");
    assert_eq!((nobody.flags, nobody.warnings.len()), (1, 1));
    // A call that the profile does not know is not the agent's.
    let asked = Asked(
        notified(
            "SCMP_ACT_ERRNO",
            json!([{"names": ["sendmsg", "read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]),
        )
        .expect("the profile is valid"),
    );
    assert_eq!(asked.native("unlink", [0; 6]), ENOSYS);
}

#[test]
fn a_profile_that_the_executor_would_wait_in_is_refused() {
    let allowed = |names: Value| json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, {"names": names, "action": "SCMP_ACT_ALLOW"}]);
    for (default, rules, place, why) in [
        (
            "SCMP_ACT_ALLOW",
            json!([{"names": ["read", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}]),
            "/syscalls/0/names/1",
            "would wait for it",
        ),
        (
            "SCMP_ACT_ALLOW",
            json!([{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]}]),
            "/syscalls/0/names/0",
            "would wait for it",
        ),
        ("SCMP_ACT_NOTIFY", allowed(json!(["read"])), "", "would wait for it"),
        ("SCMP_ACT_ERRNO", allowed(json!(["read"])), "", "has to allow sendmsg"),
        ("SCMP_ACT_KILL", allowed(json!(["sendmsg"])), "", "has to allow read"),
    ] {
        let error = notified(default, rules).expect_err(why);
        assert_eq!(error.at.as_str(), format!("/linux/seccomp{place}"), "{error}");
        assert!(error.why.contains(why), "{error}");
    }
    notified("SCMP_ACT_NOTIFY", allowed(json!(["read", "sendmsg"]))).expect("the rest may wait");
}

#[test]
fn a_listener_is_for_those_who_notify() {
    let of = |profile: Value| {
        let seccomp: LinuxSeccomp = serde_json::from_value(profile).expect("the profile is valid JSON");
        Listener::of(&seccomp, std::path::Path::new("/bundle"))
    };
    let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    let listener = |path: &str, metadata: &str| Some(Listener { path: path.into(), metadata: metadata.to_owned() });
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": "/agent", "listenerMetadata": "m"});
    assert_eq!(of(profile), listener("/agent", "m"));
    assert_eq!(of(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "agent"})), listener("/bundle/agent", ""));
    assert_eq!(of(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent"})), None);
}
