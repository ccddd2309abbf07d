//! The fields that the specification calls REQUIRED: a configuration that leaves one out is refused, and the message names the field.
//!
//! runc reads an absent field as nothing or zero; the specification leaves to the runtime what it does.

use crate::support::*;

pub const TESTS: &[Test] = suite![
    of_root: [Need::Runtime("aril")],
    of_a_mount: [Need::Runtime("aril")],
    of_console_size: [Need::Runtime("aril")],
    of_a_resource_limit: [Need::Runtime("aril")],
    of_a_hook: [Need::Runtime("aril")],
    of_a_namespace: [Need::Runtime("aril")],
    of_an_id_mapping: [Need::Runtime("aril"), Need::Userns],
    of_a_device: [Need::Runtime("aril")],
    of_a_device_rule: [Need::Runtime("aril")],
    of_block_io: [Need::Runtime("aril")],
    of_a_huge_page_limit: [Need::Runtime("aril")],
    of_a_network_priority: [Need::Runtime("aril")],
    of_seccomp: [Need::Runtime("aril")],
    of_personality: [Need::Runtime("aril")],
];

/// Puts `whole` into configurations by `put`, each time without one of its fields, which is refused by name.
#[track_caller]
fn all_of(t: &Case, whole: &Value, fields: &[&str], put: impl Fn(&mut Value, Value)) {
    for field in fields {
        let b = t.bundle();
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(*field).unwrap_or_else(|| panic!("{whole} has no {field}"));
        b.edit(|c| put(c, part));
        assert_has(&t.refused(&b), field);
    }
}

fn of_root(t: &Case) {
    all_of(t, &json!({"path": "rootfs"}), &["path"], |c, root| c["root"] = root);
}

fn of_a_mount(t: &Case) {
    let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"});
    all_of(t, &mount, &["destination"], |c, mount| c["mounts"].as_array_mut().unwrap().push(mount));
}

fn of_console_size(t: &Case) {
    all_of(t, &json!({"height": 24, "width": 80}), &["height", "width"], |c, size| c["process"]["consoleSize"] = size);
}

fn of_a_resource_limit(t: &Case) {
    let limit = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    all_of(t, &limit, &["type", "soft", "hard"], |c, limit| c["process"]["rlimits"] = json!([limit]));
}

fn of_a_hook(t: &Case) {
    for when in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        all_of(t, &json!({"path": "/bin/true", "args": ["true"]}), &["path"], |c, hook| c["hooks"] = json!({when: [hook]}));
    }
}

fn of_a_namespace(t: &Case) {
    all_of(t, &json!({"type": "pid"}), &["type"], |c, namespace| c["linux"]["namespaces"] = json!([{"type": "mount"}, namespace]));
}

fn of_an_id_mapping(t: &Case) {
    for list in ["uidMappings", "gidMappings"] {
        let map = json!({"containerID": 0, "hostID": 100_000, "size": 65536});
        all_of(t, &map, &["containerID", "hostID", "size"], |c, part| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            c["linux"]["uidMappings"] = json!([map]);
            c["linux"]["gidMappings"] = json!([map]);
            c["linux"][list] = json!([part]);
        });
    }
}

fn of_a_device(t: &Case) {
    let device = json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3});
    all_of(t, &device, &["path", "type", "major", "minor"], |c, device| c["linux"]["devices"] = json!([device]));
}

fn of_a_device_rule(t: &Case) {
    let rule = json!({"allow": false, "access": "rwm"});
    all_of(t, &rule, &["allow"], |c, rule| c["linux"]["resources"]["devices"] = json!([rule]));
}

fn of_block_io(t: &Case) {
    let weight = json!({"major": 8, "minor": 0, "weight": 100});
    all_of(t, &weight, &["major", "minor"], |c, part| c["linux"]["resources"]["blockIO"] = json!({"weightDevice": [part]}));
    let rate = json!({"major": 8, "minor": 0, "rate": 1024});
    for list in ["throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"] {
        all_of(t, &rate, &["major", "minor", "rate"], |c, part| c["linux"]["resources"]["blockIO"] = json!({list: [part]}));
    }
}

fn of_a_huge_page_limit(t: &Case) {
    let limit = json!({"pageSize": "2MB", "limit": 0});
    all_of(t, &limit, &["pageSize", "limit"], |c, limit| c["linux"]["resources"]["hugepageLimits"] = json!([limit]));
}

fn of_a_network_priority(t: &Case) {
    let priority = json!({"name": "lo", "priority": 1});
    all_of(t, &priority, &["name", "priority"], |c, part| c["linux"]["resources"]["network"] = json!({"priorities": [part]}));
}

fn of_seccomp(t: &Case) {
    let argument = json!({"index": 0, "value": 1, "op": "SCMP_CMP_EQ"});
    let rule = json!({"names": ["getppid"], "action": "SCMP_ACT_ERRNO"});
    all_of(t, &json!({"defaultAction": "SCMP_ACT_ALLOW"}), &["defaultAction"], |c, profile| c["linux"]["seccomp"] = profile);
    let put = |c: &mut Value, rule: Value| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    all_of(t, &rule, &["names", "action"], put);
    all_of(t, &argument, &["index", "value", "op"], |c, part| {
        let mut rule = rule.clone();
        rule["args"] = json!([part]);
        put(c, rule);
    });
}

fn of_personality(t: &Case) {
    all_of(t, &json!({"domain": "LINUX"}), &["domain"], |c, personality| c["linux"]["personality"] = personality);
}
