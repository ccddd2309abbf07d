//! config-linux.md: seccomp.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    errno_is_returned,
    errno_defaults_to_eperm,
    errno_ret_is_taken,
    default_errno_ret_is_taken,
    allow_over_a_refusing_default,
    kill_ends_the_process,
    kill_process_ends_the_process,
    trap_sends_sigsys,
    log_lets_pass,
    trace_without_a_tracer_is_enosys,
    one_argument_is_compared,
    operators,
    masked_equality,
    two_arguments_must_both_match,
    rules_of_one_call_are_alternatives,
    an_unknown_call_is_ignored,
    a_call_newer_than_the_profile_is_enosys: [Need::Runtime("aril")],
    the_mode_is_filter,
    no_seccomp_is_no_filter,
    works_without_no_new_privileges,
    works_for_another_user,
    holds_for_children,
    an_unknown_action_is_refused,
    an_unknown_operator_is_refused,
    an_unknown_architecture_is_refused,
    an_argument_index_of_six_is_refused,
    an_absent_default_action_is_refused,
    empty_names_are_refused,
    flags_are_taken,
    an_unknown_flag_is_refused,
    several_architectures,
    a_filter_that_forbids_the_runtimes_own_calls,
    errno_ret_with_allow_is_refused,
    a_large_profile,
    the_same_rule_as_the_default_action,
    a_program_in_an_annotation_goes_before_the_profile: [Need::Runtime("aril")],
    a_program_in_an_annotation_that_is_none_is_refused: [Need::Runtime("aril")],
];

fn seccomp(b: &Bundle, profile: Value) {
    b.edit(|c| c["linux"]["seccomp"] = profile);
}

/// The profile that allows everything but these rules.
fn but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

fn probe(t: &Case, profile: Value, args: &[&str]) -> Output {
    let b = t.bundle();
    b.args(&[&["probe"], args].concat());
    seccomp(&b, profile);
    t.run(&b)
}

fn errno_is_returned(t: &Case) {
    let output = probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}])), &["getppid"]);
    assert_eq!(output.ok(), "Function not implemented\n");
}

fn errno_defaults_to_eperm(t: &Case) {
    assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}])), &["getppid"]).ok(), "Operation not permitted\n");
}

fn errno_ret_is_taken(t: &Case) {
    for (number, text) in [(13, "Permission denied"), (12, "Cannot allocate memory"), (2, "No such file or directory")] {
        let output = probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}])), &["getppid"]);
        assert_eq!(output.ok().trim(), text);
    }
}

/// Enough for a static program to start and print.
const BASIC: &[&str] = &[
    "read",
    "write",
    "open",
    "openat",
    "close",
    "stat",
    "fstat",
    "newfstatat",
    "lstat",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "rt_sigaction",
    "rt_sigprocmask",
    "ioctl",
    "access",
    "execve",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "readlink",
    "readlinkat",
    "getrandom",
    "exit",
    "exit_group",
    "futex",
    "uname",
    "fcntl",
    "dup",
    "dup2",
    "dup3",
    "getpid",
    "gettid",
    "prctl",
    "capset",
    "capget",
    "setuid",
    "setgid",
    "setgroups",
    "setresuid",
    "setresgid",
    "chdir",
    "fchdir",
    "getcwd",
    "close_range",
    "epoll_ctl",
    "epoll_pwait",
    "nanosleep",
    "tgkill",
    "rt_sigreturn",
    "sigaltstack",
    "sched_yield",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "statfs",
    "fstatfs",
    "getdents64",
    "lseek",
    "faccessat",
    "faccessat2",
    "openat2",
    "keyctl",
    "seccomp",
    "getuid",
    "getgid",
    "geteuid",
    "getegid",
    "socket",
    "connect",
    "poll",
    "ppoll",
    "pread64",
    "madvise",
];

fn default_errno_ret_is_taken(t: &Case) {
    let profile =
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 12, "syscalls": [{"names": BASIC, "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(probe(t, profile, &["getppid"]).ok(), "Cannot allocate memory\n");
}

fn allow_over_a_refusing_default(t: &Case) {
    let profile = |names: Vec<&str>| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(probe(t, profile(BASIC.to_vec()), &["getppid"]).ok(), "Operation not permitted\n");
    assert_eq!(probe(t, profile([BASIC, &["getppid"]].concat()), &["getppid"]).ok(), "ok\n");
}

fn kill_ends_the_process(t: &Case) {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": action}])), &["trap"]).code(), 128 + 31, "{action}");
    }
}

fn kill_process_ends_the_process(t: &Case) {
    assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_KILL_PROCESS"}])), &["trap"]).code(), 128 + 31);
}

fn trap_sends_sigsys(t: &Case) {
    assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_TRAP"}])), &["trap"]).code(), 128 + 31);
}

fn log_lets_pass(t: &Case) {
    assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_LOG"}])), &["getppid"]).ok(), "ok\n");
}

fn trace_without_a_tracer_is_enosys(t: &Case) {
    let output = probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}])), &["getppid"]);
    assert_eq!(output.ok(), "Function not implemented\n");
}

fn one_argument_is_compared(t: &Case) {
    // socket(2) of AF_NETLINK (16) is refused, of AF_UNIX (1) is not.
    let profile = but(json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]}]));
    assert_eq!(probe(t, profile.clone(), &["socket", "16"]).ok(), "Operation not permitted\n");
    assert_eq!(probe(t, profile, &["socket", "1"]).ok(), "ok\n");
}

fn operators(t: &Case) {
    // personality(2) takes its argument and does nothing else with what it knows not.
    for (op, value, caught, free) in [
        ("SCMP_CMP_NE", 0, "8", "0"),
        ("SCMP_CMP_LT", 8, "0", "8"),
        ("SCMP_CMP_LE", 0, "0", "8"),
        ("SCMP_CMP_EQ", 8, "8", "0"),
        ("SCMP_CMP_GE", 8, "8", "0"),
        ("SCMP_CMP_GT", 0, "8", "0"),
    ] {
        let profile =
            but(json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": value, "op": op}]}]));
        assert_eq!(probe(t, profile.clone(), &["personality-set", caught]).ok(), "Operation not permitted\n", "{op}");
        assert_eq!(probe(t, profile, &["personality-set", free]).ok(), "ok\n", "{op}");
    }
}

fn masked_equality(t: &Case) {
    // Docker's profile forbids clone(2) with namespace flags by this operator: (argument & value) == valueTwo.
    let rule = json!({"index": 0, "value": 0x8, "valueTwo": 0x8, "op": "SCMP_CMP_MASKED_EQ"});
    let profile = but(json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [rule]}]));
    assert_eq!(probe(t, profile.clone(), &["personality-set", "8"]).ok(), "Operation not permitted\n");
    assert_eq!(probe(t, profile, &["personality-set", "0"]).ok(), "ok\n");
}

fn two_arguments_must_both_match(t: &Case) {
    let profile = |protocol: u32| {
        let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": protocol, "op": "SCMP_CMP_EQ"}]);
        but(json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12, "args": args}]))
    };
    assert_eq!(probe(t, profile(0), &["socket", "1"]).ok(), "Cannot allocate memory\n");
    assert_eq!(probe(t, profile(5), &["socket", "1"]).ok(), "ok\n", "the protocol is another");
}

fn rules_of_one_call_are_alternatives(t: &Case) {
    let rule = |family: u32, errno: u32| json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]});
    let profile = but(json!([rule(16, 13), rule(2, 12)]));
    assert_eq!(probe(t, profile.clone(), &["socket", "16"]).ok(), "Permission denied\n");
    assert_eq!(probe(t, profile.clone(), &["socket", "2"]).ok(), "Cannot allocate memory\n");
    assert_eq!(probe(t, profile, &["socket", "1"]).ok(), "ok\n");
}

fn an_unknown_call_is_ignored(t: &Case) {
    let profile = but(json!([{"names": ["no_such_call", "getppid"], "action": "SCMP_ACT_ERRNO"}]));
    assert_eq!(probe(t, profile, &["getppid"]).ok(), "Operation not permitted\n");
}

fn a_call_newer_than_the_profile_is_enosys(t: &Case) {
    // A profile written before the call existed must not answer EPERM, for which no program has a fallback.
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": BASIC, "action": "SCMP_ACT_ALLOW"}]});
    assert_eq!(probe(t, profile, &["getcpu-new"]).ok(), "Function not implemented\n");
}

fn the_mode_is_filter(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    seccomp(&b, but(json!([{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}])));
    assert_eq!(field(t.run(&b).ok(), "Seccomp"), "2");
}

fn no_seccomp_is_no_filter(t: &Case) {
    let b = t.bundle();
    b.args(&["cat", "/proc/self/status"]);
    assert_eq!(field(t.run(&b).ok(), "Seccomp"), field(&read("/proc/self/status"), "Seccomp"));
}

/// A filter that is loaded early, for want of noNewPrivileges, must not catch what a runtime still has to do: it is one that no runtime calls.
fn personality() -> Value {
    but(json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]))
}

fn works_without_no_new_privileges(t: &Case) {
    let b = t.bundle_sh("probe personality-set 8; grep -e NoNewPrivs -e CapEff /proc/self/status");
    seccomp(&b, personality());
    b.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    let out = t.run(&b).ok().to_owned();
    assert_has(&out, "not permitted");
    assert_eq!(field(&out, "NoNewPrivs"), "0");
}

fn works_for_another_user(t: &Case) {
    for nnp in [true, false] {
        let b = t.bundle();
        b.args(&["probe", "personality-set", "8"]);
        seccomp(&b, personality());
        b.edit(|c| {
            c["process"]["noNewPrivileges"] = json!(nnp);
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        assert_eq!(t.run(&b).ok(), "Operation not permitted\n", "noNewPrivileges {nnp}");
    }
}

fn holds_for_children(t: &Case) {
    let b = t.bundle_sh("sh -c 'probe kexec; probe socket 16'");
    seccomp(&b, but(json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}])));
    assert_has(t.run(&b).ok(), "Permission denied\n");
}

fn refused(t: &Case, profile: Value) -> String {
    let b = t.bundle();
    seccomp(&b, profile);
    t.refused(&b)
}

fn an_unknown_action_is_refused(t: &Case) {
    assert_has(&refused(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_SHRUG"}]))), "SCMP_ACT_SHRUG");
    assert_has(&refused(t, json!({"defaultAction": "SCMP_ACT_SHRUG"})), "SCMP_ACT_SHRUG");
}

fn an_unknown_operator_is_refused(t: &Case) {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_NEARLY"}]);
    assert_has(&refused(t, but(json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args}]))), "SCMP_CMP_NEARLY");
}

fn an_unknown_architecture_is_refused(t: &Case) {
    assert_has(
        &refused(t, json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"], "syscalls": []})),
        "SCMP_ARCH_ABACUS",
    );
}

fn an_argument_index_of_six_is_refused(t: &Case) {
    let args = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]);
    refused(t, but(json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args}])));
}

fn an_absent_default_action_is_refused(t: &Case) {
    refused(t, json!({"syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]}));
}

fn empty_names_are_refused(t: &Case) {
    refused(t, but(json!([{"names": [], "action": "SCMP_ACT_ERRNO"}])));
}

fn flags_are_taken(t: &Case) {
    for flag in ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"] {
        let profile =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]});
        assert_eq!(probe(t, profile, &["getppid"]).ok(), "Operation not permitted\n", "{flag}");
    }
}

fn an_unknown_flag_is_refused(t: &Case) {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_PIRATE"], "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]});
    assert_has(&refused(t, profile), "SECCOMP_FILTER_FLAG_PIRATE");
}

fn several_architectures(t: &Case) {
    let all = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
    let profile =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": all, "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(probe(t, profile, &["getppid"]).ok(), "Operation not permitted\n");
}

fn a_filter_that_forbids_the_runtimes_own_calls(t: &Case) {
    // The filter binds the user's process; what the runtime still has to do for it comes before.
    let rules = json!([{"names": ["mount", "pivot_root", "chroot", "setns", "unshare", "keyctl", "setgroups", "setresuid", "setuid", "capset", "chdir", "fchdir"],
        "action": "SCMP_ACT_ERRNO"}]);
    let b = t.bundle_sh("echo runs");
    seccomp(&b, but(rules));
    assert_eq!(t.run(&b).ok(), "runs\n");
}

fn errno_ret_with_allow_is_refused(t: &Case) {
    refused(
        t,
        but(
            json!([{"names": ["getppid"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}, {"names": ["kexec_load"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]),
        ),
    );
}

fn a_large_profile(t: &Case) {
    // 300 distinct conditions on one call.
    let rules: Vec<_> = (0..300)
        .map(|n| json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 0, "value": 0x1000 + n, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let profile = but(json!(rules));
    assert_eq!(probe(t, profile.clone(), &["personality-set", "0x112b"]).ok(), "Permission denied\n");
    assert_eq!(probe(t, profile, &["personality-set", "0"]).ok(), "ok\n");
}

fn the_same_rule_as_the_default_action(t: &Case) {
    assert_eq!(probe(t, but(json!([{"names": ["getppid"], "action": "SCMP_ACT_ALLOW"}])), &["getppid"]).ok(), "ok\n");
}

const BPF_DATA: &str = "run.oci.seccomp_bpf_data";

/// Instructions (code, jt, jf, k) in base64.
fn program(instructions: &[(u16, u8, u8, u32)]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = instructions.iter().flat_map(|(code, jt, jf, k)| [&code.to_ne_bytes()[..], &[*jt, *jf], &k.to_ne_bytes()].concat());
    let bits: String = bytes.map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(6).map(|six| usize::from_str_radix(&format!("{:0<6}", str::from_utf8(six).unwrap()), 2).unwrap());
    let text: String = digits.map(|digit| char::from(DIGITS[digit])).collect();
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}

/// Load the number of the system call.
const LOAD: (u16, u8, u8, u32) = (0x20, 0, 0, 0);
const ALLOW: (u16, u8, u8, u32) = (0x06, 0, 0, 0x7fff_0000);

fn a_program_in_an_annotation_goes_before_the_profile(t: &Case) {
    let mkdirat = u32::try_from(libc::SYS_mkdirat).unwrap();
    let program = program(&[LOAD, (0x15, 0, 1, mkdirat), (0x06, 0, 0, 0x0005_0000 | 33), ALLOW]);
    let b = t.bundle();
    b.args(&["probe", "mkdirat", "/tmp/x"]);
    b.edit(|c| c["annotations"][BPF_DATA] = json!(program));
    seccomp(&b, json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    assert_has(t.run(&b).ok(), "Numerical argument out of domain");
    let container = t.started(&{
        b.args(&["sleep", "1000"]);
        b
    });
    let output = container.call("exec", &[], &["probe", "mkdirat", "/tmp/x"]).run();
    assert_has(output.ok(), "Numerical argument out of domain");
}

fn a_program_in_an_annotation_that_is_none_is_refused(t: &Case) {
    let too_long = program(&[ALLOW; 4097]);
    for (data, words) in [("", "0 bytes"), ("BgAAAAAA/w==", "7 bytes"), ("?", "no valid base64"), (too_long.as_str(), "4097 instructions")]
    {
        let b = t.bundle();
        b.edit(|c| c["annotations"][BPF_DATA] = json!(data));
        let text = t.refused(&b);
        assert_has(&text, words);
        assert_has(&text, "(/annotations/run.oci.seccomp_bpf_data)");
    }
    let b = t.bundle_sh("touch /ran");
    b.edit(|c| c["annotations"][BPF_DATA] = json!(program(&[LOAD])));
    let _container = Container::of(t, &b);
    assert_has(&t.run_call(&[], &b).run().refused().to_lowercase(), "invalid argument");
    assert!(!present(b.root("/ran")), "a program without an end was passed over");
}
