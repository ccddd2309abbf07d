//! A compiled filter as a file, for later containers with the same profile: what it depends on, then the filter.
//!
//! The text that says what a filter depends on stands in the file as a whole, so that nothing is taken on the word of a hash. Behind it are the CRC-32
//! of the rest, the flags, and the program.

use super::Filter;
use super::bpf::{INSTRUCTIONS_MAX, LEN};
use super::names::library_version;
use crate::config::spec::LinuxSeccomp;
use serde::Serialize;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;

/// Everything that a compiled filter depends on, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

#[derive(Serialize)]
struct Depends<'a> {
    aril: &'a str,
    /// The sources of this compiler: a build between two versions compiles otherwise.
    compiler: &'a str,
    libseccomp: &'a str,
    machine: &'a str,
    /// The library refuses actions that the kernel does not have.
    kernel: (u32, u32),
    profile: &'a LinuxSeccomp,
}

impl Key {
    /// That of a profile on this machine, with this build; `kernel` is its major and minor version.
    ///
    /// Of the agent it has only whether there is one: each container may have another, and what it is told is no part of a filter.
    #[must_use]
    pub fn of(profile: &LinuxSeccomp, kernel: (u32, u32)) -> Option<Key> {
        let mut profile = Cow::Borrowed(profile);
        if profile.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()) {
            profile.to_mut().set_listener_path(Some(PathBuf::from("/")));
        }
        if profile.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty()) {
            profile.to_mut().set_listener_metadata(Some("-".to_owned()));
        }
        Depends {
            aril: env!("CARGO_PKG_VERSION"),
            compiler: env!("ARIL_SECCOMP_COMPILER"),
            libseccomp: &library_version(),
            machine: std::env::consts::ARCH,
            kernel,
            profile: &profile,
        }
        .text()
    }

    /// The name of the file: another key may have the same one.
    #[must_use]
    pub fn file_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        format!("{:016x}", hasher.finish())
    }
}

impl Depends<'_> {
    /// One line, which is no beginning of another one.
    fn text(&self) -> Option<Key> {
        let mut text = serde_json::to_vec(self).ok()?;
        text.push(b'\n');
        Some(Key(text))
    }
}

/// The file of a filter. `None` for one that warns of something: that has to be said each time, and where in the configuration.
#[must_use]
pub fn encode(key: &Key, filter: &Filter) -> Option<Vec<u8>> {
    let (flags, program) = (filter.flags.to_ne_bytes(), &filter.program);
    filter.warnings.is_empty().then(|| [&key.0, &sum(&flags, program)[..], &flags, program].concat())
}

/// The filter in a file's bytes, if they are whole and it is that of the key.
#[must_use]
pub fn decode(bytes: &[u8], key: &Key) -> Option<Filter> {
    let (expected, rest) = bytes.strip_prefix(key.0.as_slice())?.split_first_chunk::<4>()?;
    let (flags, program) = rest.split_first_chunk::<4>()?;
    let whole = !program.is_empty() && program.len().is_multiple_of(LEN) && program.len() / LEN <= INSTRUCTIONS_MAX;
    (whole && *expected == sum(flags, program)).then(|| Filter {
        flags: u32::from_ne_bytes(*flags),
        program: program.to_vec(),
        warnings: Vec::new(),
    })
}

fn sum(flags: &[u8], program: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(flags);
    hasher.update(program);
    hasher.finalize().to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::seccomp::resolve;
    use crate::config::Pointer;
    use serde_json::{Value, json};

    fn profile(change: impl FnOnce(&mut Value)) -> LinuxSeccomp {
        let condition = json!({"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"});
        let mut profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [condition]},
            ],
        });
        change(&mut profile);
        serde_json::from_value(profile).expect("the profile is valid")
    }

    fn key(change: impl FnOnce(&mut Value)) -> Key {
        Key::of(&profile(change), (6, 1)).expect("it can be written down")
    }

    #[test]
    fn whatever_changes_the_filter_changes_the_key() {
        let changes: [fn(&mut Value); 19] = [
            |_| (),
            |p| p["defaultAction"] = json!("SCMP_ACT_KILL"),
            |p| p["defaultErrnoRet"] = json!(1),
            |p| p["defaultErrnoRet"] = Value::Null,
            |p| p["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
            |p| p["architectures"] = json!([]),
            |p| p["flags"] = json!([]),
            |p| p["flags"] = Value::Null,
            |p| p["listenerPath"] = json!("/agent"),
            |p| p["listenerMetadata"] = json!("who"),
            |p| p["syscalls"][0]["names"] = json!(["write", "read"]),
            |p| p["syscalls"][0]["names"] = json!(["read", "write", "close"]),
            |p| p["syscalls"][0]["action"] = json!("SCMP_ACT_LOG"),
            |p| p["syscalls"][1]["errnoRet"] = json!(14),
            |p| p["syscalls"][1]["args"][0]["index"] = json!(1),
            |p| p["syscalls"][1]["args"][0]["value"] = json!(2),
            |p| p["syscalls"][1]["args"][0]["valueTwo"] = json!(3),
            |p| p["syscalls"][1]["args"][0]["op"] = json!("SCMP_CMP_EQ"),
            |p| p["syscalls"][1]["args"] = json!([]),
        ];
        let keys: Vec<Key> = changes.into_iter().map(key).collect();
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate().take(i) {
                assert!(one != other && one.file_name() != other.file_name(), "{i} and {j}");
            }
        }
        assert_ne!(Key::of(&profile(|_| ()), (6, 2)).as_ref(), keys.first(), "another kernel");
    }

    #[test]
    fn whatever_else_it_depends_on_changes_the_key() {
        let (profile, kernel) = (profile(|_| ()), (6, 1));
        let text = |[aril, compiler, libseccomp, machine]: [&str; 4]| {
            Depends { aril, compiler, libseccomp, machine, kernel, profile: &profile }.text().expect("it can be written down")
        };
        let own = ["0.1.0", "c0", "2.5.4", "x86_64"];
        for (i, other) in ["0.1.1", "c1", "2.6.0", "aarch64"].into_iter().enumerate() {
            let mut changed = own;
            changed[i] = other;
            assert_ne!(text(own), text(changed), "{other}");
        }
        let known = String::from_utf8(key(|_| ()).0).expect("it is text");
        assert!(known.contains(&format!("\"libseccomp\":{:?}", library_version())), "{known}");
        assert!(!known.contains("\"compiler\":\"\""), "{known}");
    }

    #[test]
    fn which_agent_it_is_does_not_matter() {
        let told = |path: &str, metadata: &str| {
            key(|p| {
                p["listenerPath"] = json!(path);
                p["listenerMetadata"] = json!(metadata);
            })
        };
        assert_eq!(told("/a", "one"), told("/b/c", "another"));
        assert_ne!(told("/a", "one"), told("/a", ""));
        assert_ne!(told("/a", ""), told("", ""));
    }

    #[test]
    fn what_was_written_is_read() {
        for change in [(|_| ()) as fn(&mut Value), |p| p["syscalls"][0]["names"] = json!(["openat"])] {
            let (profile, key) = (profile(change), key(change));
            let filter = resolve(&profile, &Pointer::default()).expect("it can be compiled");
            let bytes = encode(&key, &filter).expect("it warns of nothing");
            assert_eq!(decode(&bytes, &key), Some(filter));
        }
    }

    #[test]
    fn what_warns_is_not_kept() {
        let change = |p: &mut Value| p["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let filter = resolve(&profile(change), &Pointer::default()).expect("it can be compiled");
        assert_eq!(filter.warnings.len(), 1);
        assert_eq!(encode(&key(change), &filter), None);
    }

    #[test]
    fn what_is_damaged_or_of_another_key_is_not_used() {
        let own = key(|_| ());
        let filter = resolve(&profile(|_| ()), &Pointer::default()).expect("it can be compiled");
        let bytes = encode(&own, &filter).expect("it warns of nothing");
        assert_eq!(decode(&bytes, &key(|p| p["flags"] = json!([]))), None, "another key");
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], &own), None, "{length} bytes of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&damaged, &own), None, "byte {at}");
        }
        assert_eq!(decode(&[bytes.as_slice(), &[0; LEN]].concat(), &own), None, "an instruction more");
        let long = Filter { program: vec![0; (INSTRUCTIONS_MAX + 1) * LEN], ..filter };
        assert_eq!(decode(&encode(&own, &long).expect("it warns of nothing"), &own), None, "more than the kernel takes");
    }
}
