//! Integration tests of an OCI runtime binary, one file per part of the runtime specification.
//!
//! `RUNTIME` names the binary. Everything happens in a mount namespace of the run's own, so that the host's mount table is never touched.
// A test speaks by panicking and the summary by printing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, clippy::too_many_lines)]
#![allow(unreachable_pub, missing_docs)]

mod capabilities;
mod cgroup;
mod cli;
mod console;
mod delegation;
mod devices;
mod errors;
mod events;
mod exec;
mod exec_attached;
mod exec_security;
mod fallback;
mod features;
mod filter_cache;
mod flags;
mod foreign;
mod hangs;
mod hooks;
mod hostile;
mod hostname;
mod idmap;
mod inside;
mod intel_rdt;
mod lifecycle;
mod limits;
mod masks;
mod mount_links;
mod mounts;
mod namespaces;
mod net_devices;
mod pause;
mod process;
mod propagation;
mod ps;
mod required;
mod rlimits;
mod root;
mod rootless;
mod scheduling;
mod seccomp;
mod seccomp_notify;
mod security;
mod state;
mod support;
mod sysctl;
mod systemd;
mod terminal;
mod time_namespace;
mod update;
mod user;
mod user_namespace;

use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use support::case::Session;
use support::environment::Environment;
use support::{Case, Test, expected};

/// The parts of the suite.
const PARTS: &[(&str, &[Test])] = &[
    ("capabilities", capabilities::TESTS),
    ("cgroup", cgroup::TESTS),
    ("cli", cli::TESTS),
    ("console", console::TESTS),
    ("delegation", delegation::TESTS),
    ("devices", devices::TESTS),
    ("errors", errors::TESTS),
    ("events", events::TESTS),
    ("exec", exec::TESTS),
    ("exec_attached", exec_attached::TESTS),
    ("exec_security", exec_security::TESTS),
    ("fallback", fallback::TESTS),
    ("features", features::TESTS),
    ("filter_cache", filter_cache::TESTS),
    ("flags", flags::TESTS),
    ("foreign", foreign::TESTS),
    ("hangs", hangs::TESTS),
    ("hooks", hooks::TESTS),
    ("hostile", hostile::TESTS),
    ("hostname", hostname::TESTS),
    ("idmap", idmap::TESTS),
    ("intel_rdt", intel_rdt::TESTS),
    ("inside", inside::TESTS),
    ("lifecycle", lifecycle::TESTS),
    ("limits", limits::TESTS),
    ("masks", masks::TESTS),
    ("mount_links", mount_links::TESTS),
    ("mounts", mounts::TESTS),
    ("namespaces", namespaces::TESTS),
    ("net_devices", net_devices::TESTS),
    ("pause", pause::TESTS),
    ("process", process::TESTS),
    ("propagation", propagation::TESTS),
    ("ps", ps::TESTS),
    ("required", required::TESTS),
    ("rlimits", rlimits::TESTS),
    ("root", root::TESTS),
    ("rootless", rootless::TESTS),
    ("scheduling", scheduling::TESTS),
    ("seccomp", seccomp::TESTS),
    ("seccomp_notify", seccomp_notify::TESTS),
    ("security", security::TESTS),
    ("state", state::TESTS),
    ("sysctl", sysctl::TESTS),
    ("systemd", systemd::TESTS),
    ("terminal", terminal::TESTS),
    ("time_namespace", time_namespace::TESTS),
    ("update", update::TESTS),
    ("user", user::TESTS),
    ("user_namespace", user_namespace::TESTS),
];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [word, switch, file, program, arguments @ ..] = words.as_slice()
        && word == support::without::WORD
    {
        support::without::launch(fallback::switch(switch).rules, file, program, arguments);
    }
    let mut arguments = Arguments::from_args();
    // More at once only makes the machine slow enough for a hang to be suspected.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    match run(&arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("conformance: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the suite must be run as root".to_owned());
    }
    own_mount_namespace()?;
    let environment = Environment::probe()?;
    let (differences, file) = expected::load(&environment)?;
    let title = format!(
        "{} {} ({}), Linux {}.{}, cgroup {}, known differences: {file}",
        environment.name,
        environment.version,
        environment.runtime.display(),
        environment.kernel.0,
        environment.kernel.1,
        if environment.pure_v2 { "v2" } else { "v1" },
    );
    let parts = std::env::var("PARTS").unwrap_or_default();
    let parts: Vec<_> = parts.split(',').filter(|part| !part.is_empty()).collect();
    if let Some(unknown) = parts.iter().find(|name| **name != "fallback" && !PARTS.iter().any(|(part, _)| part == *name)) {
        return Err(format!("PARTS: there is no part {unknown}"));
    }
    let all = PARTS.iter().filter(|(part, _)| parts.is_empty() || parts.contains(part));
    let mut all: Vec<(String, Test)> =
        all.flat_map(|(part, tests)| tests.iter().map(move |t| (format!("{part}::{}", t.name), t.clone()))).collect();
    if parts.is_empty() || parts.contains(&"fallback") {
        all.extend(fallback::switched_off(PARTS));
    }
    if let Some(unknown) = differences.keys().find(|name| parts.is_empty() && !all.iter().any(|(test, _)| test == *name)) {
        return Err(format!("expected/{file}: there is no test {unknown}"));
    }

    let mut skips: BTreeMap<String, String> = BTreeMap::new();
    for (name, test) in &all {
        let mut reasons: Vec<_> = test.needs.iter().filter_map(|need| environment.lacks(*need)).collect();
        reasons.dedup();
        if !reasons.is_empty() {
            skips.insert(name.clone(), reasons.join("; "));
        }
    }
    let before = support::read("/proc/self/mountinfo");
    let session = Arc::new(Session::begin(environment)?);
    install_panic_hook();
    let differing = Arc::new(Mutex::new(Vec::new()));
    let mut trials = Vec::new();
    for (number, (name, test)) in all.into_iter().enumerate() {
        let skipped = skips.contains_key(&name);
        let (session, differing) = (Arc::clone(&session), Arc::clone(&differing));
        let known = differences.get(&name).map(|d| (d.reason.clone(), d.sometimes));
        let label = name.clone();
        let body = move || match (once(session, number, &test), known) {
            (Ok(()), None | Some((_, true))) => Ok(()),
            (Err(why), None) => Err(Failed::from(why)),
            (Err(_), Some((reason, _))) => {
                differing.lock().unwrap().push((label, reason));
                Ok(())
            }
            (Ok(()), Some((reason, false))) => Err(Failed::from(format!("passes, and is listed as a known difference: {reason}"))),
        };
        trials.push(Trial::test(name, body).with_ignored_flag(skipped));
    }

    println!("{title}");
    let conclusion = libtest_mimic::run(arguments, trials);
    if arguments.list {
        session.end()?;
        return Ok(ExitCode::SUCCESS);
    }
    let left = session.end();
    let mut differing = differing.lock().unwrap().clone();
    differing.sort();
    for (name, reason) in &differing {
        println!("known difference: {name}: {reason}");
    }
    if !arguments.ignored && arguments.filter.is_none() {
        for (name, reason) in &skips {
            println!("skipped: {name}: {reason}");
        }
    }
    let mut failed = conclusion.num_failed;
    if let Err(left) = left {
        println!("left behind by the run:\n{left}");
        failed += 1;
    }
    if support::read("/proc/self/mountinfo") != before {
        println!("the mount table of the run is not what it was");
        failed += 1;
    }
    println!("{title}");
    println!(
        "{} passed, {failed} failed, {} skipped ({} of the passed are known differences)",
        conclusion.num_passed,
        conclusion.num_ignored,
        differing.len()
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one test to its verdict, which counts what it leaves behind.
fn once(session: Arc<Session>, number: usize, test: &Test) -> Result<(), String> {
    let case = Case::begin(session, number, test.without);
    let verdict = catch_unwind(AssertUnwindSafe(|| (test.body)(&case)));
    let verdict = verdict.map_err(|_| PANIC.with(|panic| panic.take()));
    match (verdict, case.end()) {
        (verdict, Ok(())) => verdict,
        (Ok(()), Err(left)) => Err(left),
        (Err(why), Err(left)) => Err(format!("{why}\n{left}")),
    }
}

thread_local! {
    static PANIC: std::cell::Cell<String> = const { std::cell::Cell::new(String::new()) };
}

/// Keeps the text of a panic for the summary, with the place in the test that called the failing assertion.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("panicked");
        let at = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        PANIC.with(|panic| panic.set(format!("{at}: {text}")));
    }));
}

fn own_mount_namespace() -> Result<(), String> {
    use rustix::mount::{MountPropagationFlags as P, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: the process has one thread as yet, and nothing in it depends on its mount namespace.
    #[allow(unsafe_code)]
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|e| format!("unshare the mount namespace: {e}"))?;
    mount_change("/", P::REC | P::PRIVATE).map_err(|e| format!("make / private: {e}"))
}
