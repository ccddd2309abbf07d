//! config-linux.md: sysctl.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    a_network_value_is_set,
    an_ipc_value_is_set,
    a_message_queue_value_is_set,
    a_uts_value_is_set,
    several_values_are_set,
    a_key_may_be_written_with_slashes,
    a_value_is_written_whole,
    values_of_the_host_are_untouched,
    a_network_value_without_the_namespace_is_refused,
    an_ipc_value_without_the_namespace_is_refused,
    a_network_value_in_the_hosts_namespace_by_path_is_refused,
    a_value_of_the_whole_machine_is_refused,
    a_key_that_leads_out_is_refused,
    an_unknown_key_is_refused,
    a_value_that_the_kernel_refuses_is_refused,
    the_hostname_as_sysctl_is_refused_when_it_contradicts,
    in_a_user_namespace: [Need::Userns],
    in_a_joined_network_namespace,
    an_empty_object_is_fine,
];

fn sysctl(t: &Case, values: Value, script: &str) -> String {
    t.sh(script, |b| {
        b.edit(|c| c["linux"]["sysctl"] = values);
    })
}

fn a_network_value_is_set(t: &Case) {
    assert_eq!(sysctl(t, json!({"net.ipv4.ip_forward": "1"}), "cat /proc/sys/net/ipv4/ip_forward"), "1\n");
}

fn an_ipc_value_is_set(t: &Case) {
    assert_eq!(sysctl(t, json!({"kernel.msgmax": "65536"}), "cat /proc/sys/kernel/msgmax"), "65536\n");
}

fn a_message_queue_value_is_set(t: &Case) {
    assert_eq!(sysctl(t, json!({"fs.mqueue.queues_max": "123"}), "cat /proc/sys/fs/mqueue/queues_max"), "123\n");
}

fn a_uts_value_is_set(t: &Case) {
    assert_eq!(sysctl(t, json!({"kernel.domainname": "example.org"}), "cat /proc/sys/kernel/domainname"), "example.org\n");
}

fn several_values_are_set(t: &Case) {
    let values =
        json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "2048", "kernel.sem": "250 32000 100 200", "net.core.somaxconn": "77"});
    let out = sysctl(t, values, "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni kernel/sem net/core/somaxconn");
    assert_eq!(out, "1\n2048\n250\t32000\t100\t200\n77\n");
}

fn a_key_may_be_written_with_slashes(t: &Case) {
    assert_eq!(sysctl(t, json!({"net/ipv4/ip_forward": "1"}), "cat /proc/sys/net/ipv4/ip_forward"), "1\n");
}

fn a_value_is_written_whole(t: &Case) {
    let out = sysctl(t, json!({"net.ipv4.ip_local_port_range": "20000 30000"}), "cat /proc/sys/net/ipv4/ip_local_port_range");
    assert_eq!(out, "20000\t30000\n");
}

fn values_of_the_host_are_untouched(t: &Case) {
    let before = read("/proc/sys/net/core/somaxconn");
    sysctl(t, json!({"net.core.somaxconn": "99"}), "true");
    assert_eq!(read("/proc/sys/net/core/somaxconn"), before);
}

fn refused(t: &Case, key: &str, value: &str, change: impl FnOnce(&Bundle)) -> String {
    let b = t.bundle();
    b.edit(|c| c["linux"]["sysctl"] = json!({key: value}));
    change(&b);
    t.refused(&b)
}

fn a_network_value_without_the_namespace_is_refused(t: &Case) {
    let before = read("/proc/sys/net/core/somaxconn");
    assert_has(
        &refused(t, "net.core.somaxconn", "99", |b| {
            b.leave_namespace("network");
        }),
        "net.core.somaxconn",
    );
    assert_eq!(read("/proc/sys/net/core/somaxconn"), before);
}

fn an_ipc_value_without_the_namespace_is_refused(t: &Case) {
    assert_has(
        &refused(t, "kernel.msgmax", "8192", |b| {
            b.leave_namespace("ipc");
        }),
        "kernel.msgmax",
    );
}

fn a_network_value_in_the_hosts_namespace_by_path_is_refused(t: &Case) {
    let before = read("/proc/sys/net/core/somaxconn");
    let own = format!("/proc/{}/ns/net", std::process::id());
    refused(t, "net.core.somaxconn", before.trim(), |b| {
        b.namespace(json!({"type": "network", "path": own}));
    });
}

fn a_value_of_the_whole_machine_is_refused(t: &Case) {
    // The value that stands, so that a runtime that sets it does no harm.
    let before = read("/proc/sys/vm/swappiness");
    assert_has(&refused(t, "vm.swappiness", before.trim(), |_| ()), "vm.swappiness");
    let before = read("/proc/sys/kernel/core_pattern");
    assert_has(&refused(t, "kernel.core_pattern", before.trim(), |_| ()), "kernel.core_pattern");
}

fn a_key_that_leads_out_is_refused(t: &Case) {
    for key in ["net/../vm/swappiness", "net..vm", "", "net.ipv4.ip_forward\n", "/net/ipv4/ip_forward/../ip_forward"] {
        refused(t, key, "1", |_| ());
    }
}

fn an_unknown_key_is_refused(t: &Case) {
    let text = refused(t, "net.no.such.key", "1", |_| ());
    assert_has(&text.to_lowercase(), "no such file or directory");
}

fn a_value_that_the_kernel_refuses_is_refused(t: &Case) {
    let text = refused(t, "net.ipv4.ip_forward", "many", |_| ());
    assert_has(&text.to_lowercase(), "invalid argument");
}

fn the_hostname_as_sysctl_is_refused_when_it_contradicts(t: &Case) {
    refused(t, "kernel.hostname", "other", |_| ());
}

fn in_a_user_namespace(t: &Case) {
    let out = t.sh("cat /proc/sys/net/ipv4/ip_forward", |b| {
        b.userns(100_000, 65536).edit(|c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    });
    assert_eq!(out, "1\n");
}

fn in_a_joined_network_namespace(t: &Case) {
    let first = t.started(&t.bundle());
    let out = t.sh("cat /proc/sys/net/ipv4/ip_forward", |b| {
        b.namespace(json!({"type": "network", "path": format!("/proc/{}/ns/net", first.pid())}));
        b.edit(|c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    });
    assert_eq!(out, "1\n");
}

fn an_empty_object_is_fine(t: &Case) {
    assert_eq!(sysctl(t, json!({}), "echo fine"), "fine\n");
}
