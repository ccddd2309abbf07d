//! What is no plan.

use super::*;

#[test]
fn what_needs_a_namespace_is_refused_by_its_pointer() {
    let no_mount = |c: &mut Value| {
        in_new_userns(c, 100_000, 65536);
        c["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "user"}]);
    };
    for (at, value) in [
        ("/mounts", json!([{"destination": "/a", "type": "tmpfs"}])),
        ("/linux/maskedPaths", json!(["/x"])),
        ("/linux/readonlyPaths", json!(["/x"])),
        ("/linux/rootfsPropagation", json!("private")),
        ("/process/terminal", json!(true)),
        ("/root/readonly", json!(true)),
        ("/hostname", json!("h")),
    ] {
        let message = refused(|c| {
            no_mount(c);
            let (parent, key) = at.rsplit_once('/').expect("a pointer");
            c.pointer_mut(parent).expect("the parent is there")[key] = value.clone();
        });
        assert!(message.ends_with(&format!("({at})")), "{message}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_pointer() {
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit); 9] = [
        ("/linux/namespaces/4", |c| c["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "pid", "path": "/p"}))),
        ("/linux/namespaces/0/path", |c| c["linux"]["namespaces"] = json!([{"type": "mount", "path": "relative"}])),
        ("/linux/uidMappings", |c| c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}])),
        ("/linux/uidMappings", |c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}])),
        ("/linux/timeOffsets", |c| c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}})),
        ("/mounts/0/options", |c| c["mounts"] = json!([{"destination": "/a", "type": "bind", "source": "/b", "options": ["idmap"]}])),
        ("/mounts/0/source", |c| c["mounts"] = json!([{"destination": "/a", "type": "bind"}])),
        ("/mounts/0/destination", |c| c["mounts"] = json!([{"destination": "/proc/self", "type": "tmpfs"}])),
        ("/process/user/uid", |c| {
            in_new_userns(c, 100_000, 10);
            c["process"]["user"]["uid"] = json!(10);
        }),
    ];
    for (at, edit) in cases {
        let message = refused(edit);
        assert!(message.ends_with(&format!("({at})")), "{at}: {message}");
    }
}

#[test]
fn an_id_or_an_environment_is_counted_and_not_shown() {
    let steps = steps(&root(), |c| c["process"]["env"] = json!(["HOME=/h", "TOKEN=secret"]));
    assert_eq!(steps.last().map(String::as_str), Some("Exec with arguments [\"/bin/true\"], 2 variables"));
    assert!(!names(&steps).contains(&"Home"), "the configuration names one: {steps:#?}");
    assert!(!steps.iter().any(|step| step.contains("secret")));
}
