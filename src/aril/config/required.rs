//! The fields that the specification calls REQUIRED and that the types of the configuration take as nothing or zero where they are absent: a
//! limit of zero, or a device 0:0, is not what anybody meant who forgot one.

use super::{Invalid, Pointer};
use serde::Deserialize;
use serde::de::IgnoredAny as Any;

type List<T> = Option<Vec<T>>;

#[derive(Deserialize)]
#[allow(dead_code, reason = "that they can be read is all that is asked")]
pub(super) struct Required {
    root: Option<Root>,
    process: Option<Process>,
    linux: Option<Linux>,
}

/// Structures in which each field has to be there.
macro_rules! required {
    ($($name:ident { $($key:literal $field:ident),+ })+) => {$(
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct $name { $(#[serde(rename = $key)] $field: Any),+ }
    )+};
}

required! {
    Root { "path" path }
    ConsoleSize { "height" height, "width" width }
    IoPriority { "class" class, "priority" priority }
    Rlimit { "type" kind, "soft" soft, "hard" hard }
    IdMapping { "containerID" container, "hostID" host, "size" size }
    Rule { "allow" allow }
    Weight { "major" major, "minor" minor }
    Rate { "major" major, "minor" minor, "rate" rate }
    HugePages { "pageSize" size, "limit" limit }
    Priority { "name" name, "priority" priority }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Process {
    console_size: Option<ConsoleSize>,
    io_priority: Option<IoPriority>,
    rlimits: List<Rlimit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Linux {
    uid_mappings: List<IdMapping>,
    gid_mappings: List<IdMapping>,
    devices: List<Device>,
    resources: Option<Resources>,
}

#[derive(Deserialize)]
struct Device {
    #[serde(rename = "type")]
    kind: String,
    major: Option<Any>,
    minor: Option<Any>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Resources {
    devices: List<Rule>,
    #[serde(rename = "blockIO")]
    block_io: Option<BlockIo>,
    hugepage_limits: List<HugePages>,
    network: Option<Network>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct BlockIo {
    weight_device: List<Weight>,
    throttle_read_bps_device: List<Rate>,
    throttle_write_bps_device: List<Rate>,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: List<Rate>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: List<Rate>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Network {
    priorities: List<Priority>,
}

impl Required {
    /// What is required of some only: "REQUIRED unless type is p".
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let devices = self.linux.as_ref().and_then(|linux| linux.devices.as_deref()).unwrap_or_default();
        for (i, device) in devices.iter().enumerate().filter(|(_, device)| device.kind != "p") {
            for (field, number) in [("major", &device.major), ("minor", &device.minor)] {
                if number.is_none() {
                    let why = format!("missing field `{field}` of a device of type {:?}", device.kind);
                    return Err(Invalid::new(&Pointer::to("/linux/devices").of(i), why));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Pointer;

    fn refused(text: &str) -> (String, String) {
        let error = crate::config::parse(text.to_owned(), "config.json".as_ref()).expect_err(text);
        (error.at().map_or("", Pointer::as_str).to_owned(), error.chain())
    }

    #[test]
    fn what_is_absent_is_named_with_its_place() {
        for (text, at, field) in [
            (r#"{"root": {}}"#, "/root", "`path`"),
            (r#"{"process": {"cwd": "/", "user": {}, "rlimits": [{"type": "RLIMIT_CPU", "soft": 1}]}}"#, "/process/rlimits/0", "`hard`"),
            (r#"{"linux": {"gidMappings": [{"containerID": 0, "hostID": 0}]}}"#, "/linux/gidMappings/0", "`size`"),
            (r#"{"linux": {"devices": [{"path": "/a", "type": "c", "major": 1}]}}"#, "/linux/devices/0", "`minor`"),
            (r#"{"linux": {"resources": {"devices": [{"access": "r"}]}}}"#, "/linux/resources/devices/0", "`allow`"),
        ] {
            let (pointer, message) = refused(text);
            assert_eq!(pointer, at, "{message}");
            assert!(message.contains(field), "{message}");
        }
    }

    #[test]
    fn what_is_there_or_null_is_fine() {
        for text in [
            r#"{"root": null, "process": null, "linux": {"devices": null, "uidMappings": []}}"#,
            r#"{"linux": {"devices": [{"path": "/a", "type": "p"}], "resources": {"devices": [{"allow": false}]}}}"#,
        ] {
            crate::config::parse(text.to_owned(), "config.json".as_ref()).expect(text);
        }
    }
}
