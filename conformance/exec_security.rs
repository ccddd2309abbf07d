//! Published attacks that go by `exec`: a hostile container is there already, with processes that watch for who comes.

use crate::support::*;
use std::os::unix::fs::PermissionsExt;

pub const TESTS: &[Test] = suite![
    the_executor_shows_nothing_to_those_who_watch,
    the_executor_shows_nothing_to_those_who_watch_in_a_user_namespace,
    the_runtimes_binary_is_no_program,
    a_working_directory_through_a_leaked_descriptor,
    a_program_through_a_leaked_descriptor,
    a_link_as_the_working_directory_stays_inside,
    no_descriptor_but_the_three,
    passwd_of_the_container_leads_nowhere,
];

fn exec(c: &Container<'_>, options: &[&str], command: &[&str]) -> Output {
    c.call("exec", options, command).run()
}

/// Looks at every process again and again: notes that it saw the executor, and what it could read of it while it still was the executor. (The numbers
/// of its descriptors can be listed, as the kernel has it; where they lead cannot be seen.)
const WATCH: &str = "cd /proc; while :; do for p in [0-9]*; do \
    if read c < $p/comm && test \"$c\" = aril-init; then echo seen >> /seen; \
    x=$(readlink $p/exe; readlink $p/cwd; for f in $p/fd/*; do readlink $f; done; head -c 1 $p/maps; head -c 1 $p/environ); \
    if read c < $p/comm && test \"$c\" = aril-init; then echo -n \"$x\" >> /read; fi; fi; \
    done; done 2> /dev/null";

#[track_caller]
fn watched(t: &Case, change: impl FnOnce(&Bundle)) {
    let b = t.bundle_sh(WATCH);
    change(&b);
    let c = t.started(&b);
    eventually("the executor is seen", || {
        exec(&c, &[], &["true"]).ok();
        present(b.root("/seen")).then_some(())
    });
    for _ in 0..30 {
        exec(&c, &[], &["true"]).ok();
    }
    let found = if present(b.root("/read")) { read(b.root("/read")) } else { String::new() };
    assert_eq!(found, "", "seen {} times", read(b.root("/seen")).lines().count());
}

/// CVE-2016-9962: descriptors of the host through /proc/PID/fd, before they are closed.
fn the_executor_shows_nothing_to_those_who_watch(t: &Case) {
    watched(t, |_| {});
}

/// There root may trace whoever belongs to the namespace: the executor does not, its memory is the host's.
fn the_executor_shows_nothing_to_those_who_watch_in_a_user_namespace(t: &Case) {
    watched(t, |b| {
        b.userns(200_000, 65536);
        std::os::unix::fs::chown(b.root("/"), Some(200_000), Some(200_000)).unwrap();
        let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_KILL"]);
        b.edit(|c| c["process"]["capabilities"] = json!({"bounding": caps, "effective": caps, "permitted": caps}));
    });
}

/// CVE-2019-5736.
fn the_runtimes_binary_is_no_program(t: &Case) {
    let b = t.bundle();
    write(b.root("/script"), "#!/proc/self/exe\n");
    std::fs::set_permissions(b.root("/script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let c = t.started(&b);
    let bytes = || std::fs::read(&t.environment.runtime).unwrap();
    let before = bytes();
    exec(&c, &[], &["/proc/self/exe", "--version"]).refused();
    // It is the interpreter of itself: whatever the kernel makes of it, it is nothing of the host.
    let out = exec(&c, &[], &["/script", "--version"]);
    assert_lacks(&out.stdout, "version");
    assert!(bytes() == before, "the binary changed");
}

/// CVE-2024-21626.
fn a_working_directory_through_a_leaked_descriptor(t: &Case) {
    let c = t.started(&t.bundle());
    for number in 0..20 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/.."), format!("/proc/thread-self/fd/{number}")] {
            let out = exec(&c, &["--cwd", &path], &["pwd"]);
            assert_lacks(&out.stdout, "unreachable");
            out.refused();
        }
    }
}

fn a_program_through_a_leaked_descriptor(t: &Case) {
    let c = t.started(&t.bundle());
    for number in 3..20 {
        exec(&c, &[], &[&format!("/proc/self/fd/{number}/../../bin/sh"), "-c", "echo out"]).refused();
        exec(&c, &[], &[&format!("/proc/self/fd/{number}"), "-c", "echo out"]).refused();
    }
}

fn a_link_as_the_working_directory_stays_inside(t: &Case) {
    let b = t.bundle();
    let canary = t.mkdir("canary");
    std::os::unix::fs::symlink(&canary, b.root("/link")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/9", b.root("/fd")).unwrap();
    let c = t.started(&b);
    for path in ["/link", "/fd"] {
        exec(&c, &["--cwd", path], &["pwd"]).refused();
    }
}

fn no_descriptor_but_the_three(t: &Case) {
    let c = t.started(&t.bundle());
    let out = c.call("exec", &[], &["probe", "fds"]).shell("exec \"$@\" 5< / 6< /etc/passwd 77< /").run();
    assert_eq!(out.ok().lines().count(), 3, "{}", out.stdout);
}

/// The user database is the container's: a link, a fifo or a device in its place is not read, and nobody waits for it.
fn passwd_of_the_container_leads_nowhere(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["process"]["env"] = json!(["PATH=/bin"]));
    write(t.path("passwd"), "root:x:0:0::/of-the-host:/bin/sh\n");
    std::os::unix::fs::symlink(t.path("passwd"), b.root("/link")).unwrap();
    let c = t.started(&b);
    for plant in ["cp -P /link /etc/passwd", "mkfifo /etc/passwd", "mkdir /etc/passwd", "ln -s /proc/1/root/etc/passwd /etc/passwd"] {
        exec(&c, &[], &["sh", "-c", &format!("rm -rf /etc/passwd; {plant}")]).ok();
        assert_eq!(exec(&c, &[], &["sh", "-c", "echo $HOME"]).ok(), "/\n", "{plant}");
    }
}
