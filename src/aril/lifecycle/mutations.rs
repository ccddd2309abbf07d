//! Texts that were changed at random, given to every reader of what comes from outside or was written to a disk: whatever is in them, an answer or an
//! error comes of it, and never a panic. The changes are always the same; `ARIL_MUTATIONS=1000000 cargo test mutations` makes more of them.

use super::record::tests::intent;
use super::record::{Created, Identity, Line, Record};
use super::{compact, exec_process};
use crate::compile::{self, Request};
use crate::config;
use crate::host::Host;
use aril_plan::{In, Op, Wire};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Numbers as of xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % end.max(1)
    }
}

/// What breaks readers: ends of ranges, deep nesting, other types, names that lead elsewhere.
const PIECES: [&str; 28] = [
    "",
    "0",
    "-1",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "-9223372036854775808",
    "1e400",
    "1.5",
    "null",
    "true",
    "{}",
    "[]",
    "[[[[[[[[",
    "{\"a\":",
    "\"\"",
    "\"..\"",
    "\"/\"",
    "\"../../x\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\u{fffd}",
    ":",
    ",",
    "\"",
    "\n",
    "\"-\"",
    "\"/proc/self/fd/9\"",
];

fn mutated(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
            2 => bytes.truncate(at + 1),
            3 => {
                // A value, or a name, as a whole.
                let begin = bytes[..at].iter().rposition(|b| b":[{,".contains(b)).map_or(0, |i| i + 1);
                let end = bytes[begin..].iter().position(|b| b",]}:".contains(b)).map_or(bytes.len(), |i| begin + i);
                drop(bytes.splice(begin..end, PIECES[random.below(PIECES.len())].bytes()));
            }
            _ => {
                let copy = bytes[at..(at + random.below(60)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, copy));
            }
        }
        if bytes.is_empty() {
            bytes.push(b' ');
        }
    }
    bytes
}

/// JSON in which one value is another, or is not there.
fn altered(original: &Value, random: &mut Random) -> Value {
    fn alter(value: &mut Value, random: &mut Random) {
        let inner: Vec<&mut Value> = match value {
            Value::Object(fields) => fields.values_mut().collect(),
            Value::Array(items) => items.iter_mut().collect(),
            _ => Vec::new(),
        };
        let chosen = random.below(inner.len() + usize::from(inner.is_empty()));
        match inner.into_iter().nth(chosen) {
            Some(inner) if random.below(8) > 0 => alter(inner, random),
            _ => {
                let piece = serde_json::from_str(PIECES[random.below(PIECES.len())]).unwrap_or(Value::Null);
                *value = if random.below(4) == 0 { json!([value.clone(), piece, value.clone()]) } else { piece };
            }
        }
    }
    let mut value = original.clone();
    alter(&mut value, random);
    value
}

fn each(original: &[u8], times: usize, mut take: impl FnMut(&[u8])) {
    let times = std::env::var("ARIL_MUTATIONS").ok().and_then(|times| times.parse().ok()).unwrap_or(times);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let json: Option<Value> = serde_json::from_slice(original).ok();
    for turn in 0..times {
        match &json {
            Some(json) if turn % 4 > 0 => take(altered(json, &mut random).to_string().as_bytes()),
            _ => take(&mutated(original, &mut random)),
        }
    }
}

fn host() -> Host {
    Host { kernel: (6, 12), apparmor: true, selinux: true, ..Host::example() }
}

/// Something of everything.
fn configuration() -> String {
    let id = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let config = json!({
        "ociVersion": "1.3.0", "hostname": "a", "domainname": "b", "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": true, "consoleSize": {"height": 10, "width": 20}, "cwd": "/w", "args": ["a", "b"], "env": ["A=b", "PATH=/x:/y"],
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}, "noNewPrivileges": true, "oomScoreAdj": 5, "apparmorProfile": "p",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}], "scheduler": {"policy": "SCHED_FIFO", "priority": 5},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 2}, "execCPUAffinity": {"initial": "0-1", "final": "0"}
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=755", "ro", "tmpcopyup"]},
            {"destination": "/b", "type": "bind", "source": "/s", "options": ["rbind", "rro", "rslave", "idmap=uids=0-1-2;gids=0-1-2"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
        ],
        "hooks": {"createRuntime": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 5}], "poststop": [{"path": "/h"}]},
        "annotations": {"run.oci.hooks.stdout": "/x", "org.systemd.property.TimeoutStopUSec": "uint64 5"},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}, {"type": "time"}, {"type": "network", "path": "/n"}, {"type": "ipc"}, {"type": "uts"}],
            "uidMappings": id, "gidMappings": id, "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}}, "rootfsPropagation": "slave",
            "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 1}],
            "maskedPaths": ["/proc/x"], "readonlyPaths": ["/proc/y"], "sysctl": {"net.a": "1"}, "personality": {"domain": "LINUX"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]}, "cgroupsPath": "/a/b",
            "intelRdt": {"closID": "c", "schemata": ["L3:0=f"]}, "netDevices": {"eth0": {"name": "e"}},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]},
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 5}, "memory": {"limit": 1_000_000, "swap": 2_000_000},
                "cpu": {"shares": 5, "quota": 5000, "period": 10000, "cpus": "0-1"}, "unified": {"memory.high": "max"},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 5}], "blockIO": {"weight": 10}, "rdma": {"x": {"hcaHandles": 1}}}
        }
    });
    config.to_string()
}

#[test]
fn configurations() {
    let host = host();
    let place = crate::cgroup::Place::default();
    let (mut read, mut compiled) = (0, 0);
    each(configuration().as_bytes(), 1000, |bytes| {
        let Ok(text) = String::from_utf8(bytes.to_vec()) else { return };
        let Ok(loaded) = config::parse(text, Path::new("config.json")) else { return };
        read += 1;
        let _ = config::check_top(&loaded.spec);
        let _ = crate::cgroup::Limits::resolve(loaded.spec.linux().as_ref(), &place, &host);
        let request = Request {
            spec: &loaded.spec,
            id: "box",
            bundle: Path::new("/bundle"),
            rootfs: Path::new("/bundle/rootfs"),
            host: &host,
            place: &place,
            hosts_namespaces: 0,
            links: const { &BTreeMap::new() },
            program: loaded.process,
            gate: true,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            env: &[],
            filter: None,
            exec: None,
        };
        if let Ok(plan) = compile::compile(request) {
            compiled += 1;
            assert_eq!(plan.steps().count(), plan.len(), "every step reads back");
        }
    });
    assert!(read > 100 && compiled > 10, "{read} were read, {compiled} compiled: hardly anything was tried");
}

#[test]
fn records_and_what_exec_needs() {
    let created = Created { process: Identity { pid: 7, start: 8, inode: Some(9) }, steps: Vec::new() };
    let record = Record { intent: intent(None), created: Some(created.clone()), started: false };
    let lines = [Line::Intent(Box::new(record.intent.clone())), Line::Created(created), Line::Started];
    let text: String = lines.iter().map(|line| line.text().expect("a line")).collect();
    each(text.as_bytes(), 1000, |bytes| {
        let process = Record::parse(&String::from_utf8_lossy(bytes)).0.and_then(|record| record.created).map(|created| created.process);
        assert!(matches!(process, None | Some(Identity { pid: 7, start: 8, inode: Some(9) })), "a pid that nobody wrote");
    });
    let spec = config::parse(configuration(), Path::new("config.json")).expect("it is valid").spec;
    let needed = compact::encode(&record, &spec, false, None).expect("it can be written");
    let said = exec_process::Said { args: vec!["x".to_owned()], ..exec_process::Said::default() };
    each(&needed, 1000, |bytes| {
        if let Ok((compact, _)) = compact::decode(bytes) {
            assert_eq!(compact.process, Identity { pid: 7, start: 8, inode: Some(9) }, "a pid that nobody wrote");
            let _ = said.load(&compact);
        }
    });
    // The checksum hides what lies behind it.
    each(configuration().as_bytes(), 1000, |bytes| {
        let _ = serde_json::from_slice::<Line>(bytes);
    });
}

#[test]
fn plans() {
    let mut bytes = Vec::new();
    for op in [
        Op::Target {
            into: aril_plan::Slot(1),
            root: aril_plan::Slot(0),
            path: c"/proc",
            kind: aril_plan::Kind::RealDirectory,
            like: aril_plan::Slot::NONE,
        },
        Op::Write { at: aril_plan::Slot(2), path: c"sys/net/x", value: b"1" },
        Op::Exec { args: aril_plan::List::new(b"a\0b\0").unwrap_or_default(), env: aril_plan::List::default() },
    ] {
        op.encode(&mut |piece| bytes.extend_from_slice(piece));
    }
    each(&bytes, 1000, |bytes| {
        let mut from = In(bytes);
        while let Some(op) = Op::decode(&mut from) {
            let _ = compile::describe::step(&op);
        }
    });
}
