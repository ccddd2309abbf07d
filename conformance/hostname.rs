//! config.md: hostname and domainname.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    hostname_is_set,
    hostname_absent_is_inherited,
    hostname_of_the_host_is_untouched,
    domainname_is_set,
    hostname_without_a_uts_namespace_is_refused,
    domainname_without_a_uts_namespace_is_refused,
    hostname_of_64_characters_is_taken,
    hostname_of_65_characters_is_refused,
    hostname_is_set_in_a_user_namespace: [Need::Userns],
];

fn hostname_is_set(t: &Case) {
    assert_eq!(
        t.sh("hostname", |b| {
            b.edit(|c| c["hostname"] = json!("some-name.example"));
        }),
        "some-name.example\n"
    );
}

fn hostname_absent_is_inherited(t: &Case) {
    let out = t.sh("cat /proc/sys/kernel/hostname", |b| {
        b.edit(|c| drop(c.as_object_mut().unwrap().remove("hostname")));
    });
    assert_eq!(out, read("/proc/sys/kernel/hostname"));
}

fn hostname_of_the_host_is_untouched(t: &Case) {
    let before = read("/proc/sys/kernel/hostname");
    t.sh("hostname", |b| {
        b.edit(|c| c["hostname"] = json!("other"));
    });
    assert_eq!(read("/proc/sys/kernel/hostname"), before);
}

fn domainname_is_set(t: &Case) {
    let out = t.sh("cat /proc/sys/kernel/domainname", |b| {
        b.edit(|c| c["domainname"] = json!("domain.example"));
    });
    assert_eq!(out, "domain.example\n");
}

fn hostname_without_a_uts_namespace_is_refused(t: &Case) {
    let b = t.bundle();
    b.leave_namespace("uts");
    assert_has(&t.refused(&b).to_lowercase(), "uts");
}

fn domainname_without_a_uts_namespace_is_refused(t: &Case) {
    let before = read("/proc/sys/kernel/domainname");
    let b = t.bundle();
    b.leave_namespace("uts").edit(|c| {
        c.as_object_mut().unwrap().remove("hostname");
        c["domainname"] = json!("x.example");
    });
    assert_has(&t.refused(&b).to_lowercase(), "uts");
    assert_eq!(read("/proc/sys/kernel/domainname"), before);
}

fn hostname_of_64_characters_is_taken(t: &Case) {
    let name = "x".repeat(64);
    assert_eq!(
        t.sh("cat /proc/sys/kernel/hostname", |b| {
            b.edit(|c| c["hostname"] = json!(name));
        })
        .trim(),
        name
    );
}

fn hostname_of_65_characters_is_refused(t: &Case) {
    let b = t.bundle();
    b.edit(|c| c["hostname"] = json!("x".repeat(65)));
    assert_has(&t.refused(&b).to_lowercase(), "hostname");
}

fn hostname_is_set_in_a_user_namespace(t: &Case) {
    assert_eq!(
        t.sh("hostname", |b| {
            b.userns(100_000, 65536);
        }),
        "conformance\n"
    );
}
