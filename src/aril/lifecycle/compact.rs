//! What `exec` needs of a container, in one file: so it neither reads the whole configuration nor compiles the seccomp profile again.
//!
//! A line of text (`aril-exec 1`, the lengths of the two parts, and the CRC-32 of both), then JSON, then the filter as the kernel takes it.

use super::store::{Identity, Record};
use crate::boot::resctrl::Group;
use crate::cgroup::Place;
use crate::compile::seccomp::{Filter, Listener};
use crate::config::spec::Spec;
use crate::error::{Doing, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::path::PathBuf;

/// The name of the file in the state directory.
pub const EXEC: &str = "exec";
const MAGIC: &str = "aril-exec 1";

/// The first part. A field that a later version adds has to have a default: containers outlive an upgrade.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compact<'a> {
    /// The boot of the kernel in which it is.
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// Its first process.
    pub process: Identity,
    /// Its cgroup.
    pub place: Cow<'a, Place>,
    /// The bundle, absolute.
    pub bundle: Cow<'a, PathBuf>,
    /// The root file system, absolute.
    pub rootfs: Cow<'a, PathBuf>,
    /// `--no-new-keyring` of its creation.
    pub no_new_keyring: bool,
    /// `SECCOMP_FILTER_FLAG_*` of the filter, if it has one.
    pub seccomp: Option<u32>,
    /// Who is told of system calls, where the filter notifies somebody.
    #[serde(default)]
    pub listener: Option<Listener>,
    /// Its resctrl group.
    #[serde(default)]
    pub resctrl: Option<Group>,
    /// `ociVersion`
    #[serde(borrow)]
    pub oci_version: Cow<'a, str>,
    /// The configuration's `process`.
    #[serde(borrow)]
    pub spec: Cow<'a, RawValue>,
    /// What its `linux` says of processes.
    #[serde(borrow)]
    pub linux: Cow<'a, RawValue>,
}

/// The fields of `linux` that are about processes and their namespaces.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    namespaces: &'a Option<Vec<crate::config::spec::LinuxNamespace>>,
    uid_mappings: &'a Option<Vec<crate::config::spec::LinuxIdMapping>>,
    gid_mappings: &'a Option<Vec<crate::config::spec::LinuxIdMapping>>,
    personality: &'a Option<crate::config::spec::LinuxPersonality>,
    memory_policy: &'a Option<crate::config::spec::LinuxMemoryPolicy>,
}

/// The file's bytes, for a container that is created.
///
/// # Errors
/// The container has no process yet.
pub fn encode(record: &Record, spec: &Spec, no_new_keyring: bool, filter: Option<&Filter>) -> Result<Vec<u8>> {
    let created = record.created.as_ref().ok_or_else(|| Error::Other("the container has no process".to_owned()))?;
    let linux = spec.linux().as_ref().map(|linux| Linux {
        namespaces: linux.namespaces(),
        uid_mappings: linux.uid_mappings(),
        gid_mappings: linux.gid_mappings(),
        personality: linux.personality(),
        memory_policy: linux.memory_policy(),
    });
    let intent = &record.intent;
    let compact = Compact {
        boot: Cow::Borrowed(&intent.boot),
        process: created.process,
        place: Cow::Borrowed(&intent.place),
        bundle: Cow::Borrowed(&intent.bundle),
        rootfs: Cow::Borrowed(&intent.rootfs),
        no_new_keyring,
        seccomp: filter.map(|filter| filter.flags),
        listener: intent.listener.clone(),
        resctrl: intent.resctrl.clone(),
        oci_version: Cow::Borrowed(&intent.oci_version),
        spec: Cow::Owned(serde_json::value::to_raw_value(spec.process()).map_err(failed)?),
        linux: Cow::Owned(serde_json::value::to_raw_value(&linux).map_err(failed)?),
    };
    let program = filter.map(|filter| filter.program.as_slice()).unwrap_or_default();
    bytes(&compact, program)
}

/// The file's bytes for a container that is in another resctrl group since, or in none.
///
/// # Errors
/// As of [`decode`].
pub fn in_group(old: &[u8], group: Option<&Group>) -> Result<Vec<u8>> {
    let (compact, filter) = decode(old)?;
    bytes(&Compact { resctrl: group.cloned(), ..compact }, &filter.map(|filter| filter.program).unwrap_or_default())
}

fn failed(error: serde_json::Error) -> Error {
    Error::Other(format!("cannot write down what exec needs: {error}"))
}

fn bytes(compact: &Compact<'_>, program: &[u8]) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(compact).map_err(failed)?;
    let head = format!("{MAGIC} {} {} {:08x}\n", json.len(), program.len(), sum(&json, program));
    Ok([head.as_bytes(), &json, program].concat())
}

/// Both parts of a file's bytes.
///
/// # Errors
/// They are not whole, or another version's.
pub fn decode(bytes: &[u8]) -> Result<(Compact<'_>, Option<Filter>)> {
    parts(bytes).doing(|| "what exec needs of the container cannot be read".to_owned())
}

fn parts(bytes: &[u8]) -> Result<(Compact<'_>, Option<Filter>)> {
    let broken = || Error::Other("the file is damaged".to_owned());
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| broken())?;
    let Some(head) = head.strip_prefix(MAGIC) else {
        return Err(Error::Other("another version of aril wrote it".to_owned()));
    };
    let mut numbers = head.split_ascii_whitespace();
    let mut number = |radix| numbers.next().and_then(|text| usize::from_str_radix(text, radix).ok()).ok_or_else(broken);
    let (json_len, program_len, expected) = (number(10)?, number(10)?, number(16)?);
    let (json, program) = bytes[end + 1..].split_at_checked(json_len).ok_or_else(broken)?;
    if program.len() != program_len || u32::try_from(expected) != Ok(sum(json, program)) {
        return Err(broken());
    }
    let compact: Compact<'_> = serde_json::from_slice(json).map_err(|error| Error::Other(error.to_string()))?;
    let filter = compact.seccomp.map(|flags| Filter { flags, program: program.to_vec(), warnings: Vec::new() });
    Ok((compact, filter))
}

fn sum(json: &[u8], program: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(json);
    hasher.update(program);
    hasher.finalize()
}
