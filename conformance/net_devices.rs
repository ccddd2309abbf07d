//! config-linux.md: netDevices. The host's side is a network namespace of the test's own, with pairs of virtual interfaces.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    a_device_is_moved_and_set_up: [Need::Runtime("aril"), Need::Program("ip")],
    a_device_is_renamed: [Need::Runtime("aril"), Need::Program("ip")],
    a_template_is_filled_in: [Need::Runtime("aril"), Need::Program("ip")],
    addresses_are_kept: [Need::Runtime("aril"), Need::Program("ip")],
    attributes_are_kept: [Need::Runtime("aril"), Need::Program("ip")],
    several_devices: [Need::Runtime("aril"), Need::Program("ip")],
    into_a_joined_namespace: [Need::Runtime("aril"), Need::Program("ip")],
    in_a_user_namespace: [Need::Runtime("aril"), Need::Program("ip"), Need::Userns],
    hooks_find_it_there: [Need::Runtime("aril"), Need::Program("ip")],
    a_virtual_device_ends_with_the_container: [Need::Runtime("aril"), Need::Program("ip")],
    a_device_that_is_missing_is_refused: [Need::Runtime("aril"), Need::Program("ip")],
    a_name_that_is_taken_is_refused: [Need::Runtime("aril"), Need::Program("ip")],
    a_device_that_cannot_leave_is_refused: [Need::Runtime("aril"), Need::Program("ip")],
    what_was_moved_before_a_failure_is_given_back: [Need::Runtime("aril"), Need::Program("ip")],
    without_a_network_namespace_it_is_refused: [Need::Runtime("aril")],
    a_name_that_is_none_is_refused: [Need::Runtime("aril")],
];

const PAIR: &str = "ip link add a0 type veth peer name b0 && ip link set b0 up";

/// Runs the bundle in a network namespace in which `before` ran, and `after` runs when it has ended.
#[track_caller]
fn run(t: &Case, b: &Bundle, before: &str, after: &str) -> Output {
    let _guard = Container::of(t, b);
    let script = format!("{before} || exit 99\n\"$@\"\ncode=$?\n{after}\nexit $code");
    t.run_call(&[], b).env("SCRIPT", script).shell("exec unshare -n sh -c \"$SCRIPT\" sh \"$@\"").run()
}

fn devices(b: &Bundle, devices: Value) {
    b.edit(|c| c["linux"]["netDevices"] = devices);
    b.namespace(json!({"type": "network"}));
}

fn inside(t: &Case, script: &str, wanted: Value, before: &str) -> String {
    let b = t.bundle_sh(script);
    devices(&b, wanted);
    run(t, &b, before, "true").ok().to_owned()
}

fn a_device_is_moved_and_set_up(t: &Case) {
    let b = t.bundle_sh("ip -o link");
    devices(&b, json!({"a0": {}}));
    let output = run(t, &b, PAIR, "echo after; ip -o link");
    let (during, after) = output.ok().split_once("after\n").unwrap();
    let line = during.lines().find(|l| l.contains(" a0@")).unwrap_or_else(|| panic!("{during}"));
    assert_has(line, "UP");
    assert_eq!(during.lines().count(), 2, "lo and the one: {during}");
    assert_lacks(after, " a0@");
}

fn a_device_is_renamed(t: &Case) {
    let out = inside(t, "ip -o link", json!({"a0": {"name": "container_eth0"}}), PAIR);
    assert_has(&out, " container_eth0@");
    assert_lacks(&out, " a0@");
}

fn a_template_is_filled_in(t: &Case) {
    let pairs = format!("{PAIR}; ip link add a1 type veth peer name b1");
    let out = inside(t, "ip -o link", json!({"a0": {"name": "net%d"}, "a1": {"name": "net%d"}}), &pairs);
    assert_has(&out, " net0@");
    assert_has(&out, " net1@");
}

fn addresses_are_kept(t: &Case) {
    let before = format!(
        "{PAIR} && ip link set a0 up && ip addr add 192.0.2.1/24 broadcast 192.0.2.255 dev a0 && ip addr add 198.51.100.7 peer 198.51.100.8/31 dev a0 \
         && ip addr add 203.0.113.5/24 scope link dev a0 && ip addr add 100.64.0.6/24 valid_lft 1000 preferred_lft 1000 dev a0 \
         && ip addr add 2001:db8::1/64 dev a0"
    );
    let out = inside(t, "ip addr show dev net", json!({"a0": {"name": "net"}}), &before);
    assert_has(&out, "inet 192.0.2.1/24 brd 192.0.2.255 scope global net");
    assert_has(&out, "inet 198.51.100.7 peer 198.51.100.8/31 scope global net");
    assert_has(&out, "inet6 2001:db8::1/64 scope global");
    assert_lacks(&out, "203.0.113.5"); // for the link alone
    assert_lacks(&out, "100.64.0.6"); // not for good
}

fn attributes_are_kept(t: &Case) {
    let before = format!("{PAIR} && ip link set a0 mtu 1234 address 02:00:00:00:00:07 txqueuelen 77");
    let out = inside(t, "ip link show dev a0", json!({"a0": {}}), &before);
    assert_has(&out, "mtu 1234");
    assert_has(&out, "02:00:00:00:00:07");
    assert_has(&out, "qlen 77");
}

fn several_devices(t: &Case) {
    let before = "for n in 1 2 3 4; do ip link add a$n type veth peer name b$n; ip addr add 192.0.2.$n/32 dev a$n; done";
    let out = inside(t, "ip addr", json!({"a1": {"name": "a2"}, "a2": {"name": "x"}, "a3": {}, "a4": {}}), before);
    for (name, n) in [("a2", 1), ("x", 2), ("a3", 3), ("a4", 4)] {
        assert_has(&out, &format!("192.0.2.{n}/32 scope global {name}"));
    }
}

fn into_a_joined_namespace(t: &Case) {
    let first = t.bundle_sh("sleep 1000");
    first.namespace(json!({"type": "network"}));
    let first = t.started(&first);
    let b = t.bundle_sh("ip -o link");
    devices(&b, json!({"a0": {}}));
    b.namespace(json!({"type": "network", "path": format!("/proc/{}/ns/net", first.pid())}));
    assert_has(run(t, &b, PAIR, "true").ok(), " a0@");
}

fn in_a_user_namespace(t: &Case) {
    let b = t.bundle_sh("ip -o addr show dev net");
    b.userns(100_000, 65536);
    devices(&b, json!({"a0": {"name": "net"}}));
    let output = run(t, &b, &format!("{PAIR} && ip addr add 192.0.2.1/24 dev a0"), "true");
    assert_has(output.ok(), "192.0.2.1/24");
}

fn hooks_find_it_there(t: &Case) {
    let b = t.bundle_sh("true");
    devices(&b, json!({"a0": {}}));
    let seen = t.path("seen");
    b.hook_sh(
        "createRuntime",
        &format!("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip -o link > {}", seen.display()),
    );
    run(t, &b, PAIR, "true").ok();
    assert_has(&read(&seen), " a0@");
}

/// The runtime does not take it out again.
fn a_virtual_device_ends_with_the_container(t: &Case) {
    let b = t.bundle_sh("true");
    devices(&b, json!({"a0": {"name": "net"}}));
    // The kernel takes a namespace down when it comes to it.
    let gone = "while ip link show b0 >/dev/null 2>&1; do sleep 0.01; done; echo gone; ip -o link";
    let output = run(t, &b, PAIR, gone);
    assert_has(output.ok(), "gone\n");
    assert_lacks(output.ok(), " a0@");
    assert_lacks(output.ok(), " net@");
}

#[track_caller]
fn refused(t: &Case, wanted: Value, before: &str, after: &str) -> Output {
    let b = t.bundle_sh("true");
    devices(&b, wanted);
    let output = run(t, &b, before, after);
    assert_ne!(output.code(), 0);
    output
}

fn a_device_that_is_missing_is_refused(t: &Case) {
    let output = refused(t, json!({"nope": {}}), "true", "true");
    assert_has(&output.stderr, "(/linux/netDevices/nope)");
    assert_has(&output.stderr, "no network interface has the name \"nope\"");
}

fn a_name_that_is_taken_is_refused(t: &Case) {
    let output = refused(t, json!({"a0": {"name": "lo"}}), PAIR, "ip -o link show a0");
    assert_has(&output.stderr, "(/linux/netDevices/a0)");
    assert_has(&output.stderr, "an interface \"lo\" already");
    assert_has(&output.stdout, " a0@");
}

fn a_device_that_cannot_leave_is_refused(t: &Case) {
    let output = refused(t, json!({"lo": {"name": "other"}}), "true", "true");
    assert_has(&output.stderr, "(/linux/netDevices/lo)");
    assert_has(&output.stderr, "invalid argument");
}

fn what_was_moved_before_a_failure_is_given_back(t: &Case) {
    let before = format!("{PAIR} && ip link set a0 up && ip addr add 192.0.2.1/24 dev a0");
    let output = refused(t, json!({"a0": {"name": "other"}, "nope": {}}), &before, "ip -o link show a0; ip -o addr show dev a0");
    assert_has(&output.stderr, "(/linux/netDevices/nope)");
    assert_has(&output.stdout, "UP");
    assert_has(&output.stdout, "192.0.2.1/24");
}

fn without_a_network_namespace_it_is_refused(t: &Case) {
    let b = t.bundle();
    devices(&b, json!({"a0": {}}));
    b.leave_namespace("network");
    assert_has(&t.refused(&b), "(/linux/netDevices)");
}

fn a_name_that_is_none_is_refused(t: &Case) {
    for (wanted, at) in [
        (json!({"a/b": {}}), "(/linux/netDevices/a~1b)"),
        (json!({"a0": {"name": "sixteen-letters-x"}}), "(/linux/netDevices/a0/name)"),
        (json!({"a0": {"name": "x"}, "a1": {"name": "x"}}), "(/linux/netDevices/a1)"),
    ] {
        let b = t.bundle();
        devices(&b, wanted);
        assert_has(&t.refused(&b), at);
    }
}
