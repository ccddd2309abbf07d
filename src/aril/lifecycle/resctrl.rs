//! Cache and memory bandwidth of a container (Documentation/filesystems/resctrl.rst), for its statistics.

use crate::sys;
use nix::fcntl::OFlag;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where the file system is mounted.
const MOUNT: &str = "/sys/fs/resctrl";
/// More than any of its files has.
const MAX: u64 = 1 << 20;

/// In runc's spelling of the keys. Empty for a container that has no group of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct IntelRdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<MbmStats>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<CmtStats>,
}

/// What the cache can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct L3CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

/// What the control of bandwidth can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MemBwInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Bandwidth through one cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MbmStats {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// What is used of one cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CmtStats {
    pub llc_occupancy: u64,
}

/// Of the groups that a process is in; nothing where these are the ones that all processes are in at first.
#[must_use]
pub fn stats(pid: i32) -> IntelRdt {
    let groups = text(&Path::new("/proc").join(pid.to_string()).join("cpu_resctrl_groups"));
    groups.map(|groups| of(Path::new(MOUNT), &groups)).unwrap_or_default()
}

/// `groups` is `res:GROUP` and `mon:GROUP`, a line each, the second below the first.
fn of(mount: &Path, groups: &str) -> IntelRdt {
    let named = |key: &str| groups.lines().find_map(|line| line.strip_prefix(key)).map_or("", |group| group.trim().trim_matches('/'));
    let (control, monitoring) = (named("res:"), named("mon:"));
    if control.is_empty() && monitoring.is_empty() {
        return IntelRdt::default();
    }
    let group = mount.join(control);
    let monitored = if monitoring.is_empty() { group.clone() } else { group.join("mon_groups").join(monitoring) };
    let (root, own) = (text(&mount.join("schemata")).unwrap_or_default(), text(&group.join("schemata")).unwrap_or_default());
    let caches = caches(&monitored);
    IntelRdt {
        l3_cache_info: l3(&mount.join("info/L3")).or_else(|| l3(&mount.join("info/L3CODE"))),
        l3_cache_schema_root: schema(&root, "L3"),
        l3_cache_schema: schema(&own, "L3"),
        mem_bw_info: bandwidth(&mount.join("info/MB")),
        mem_bw_schema_root: schema(&root, "MB"),
        mem_bw_schema: schema(&own, "MB"),
        mbm_stats: caches.iter().filter_map(|cache| mbm(cache)).collect(),
        cmt_stats: caches.iter().filter_map(|cache| Some(CmtStats { llc_occupancy: number(&cache.join("llc_occupancy"))? })).collect(),
    }
}

/// The lines of a kind (`L3`, also `L3CODE` and `L3DATA`), joined as the configuration writes them.
fn schema(schemata: &str, kind: &str) -> String {
    let lines = schemata.lines().map(str::trim).filter(|line| line.split(':').next().is_some_and(|name| name.starts_with(kind)));
    lines.collect::<Vec<_>>().join("\n")
}

fn l3(info: &Path) -> Option<L3CacheInfo> {
    let number = |name: &str| number(&info.join(name)).unwrap_or(0);
    let cbm_mask = text(&info.join("cbm_mask"))?.trim().to_owned();
    Some(L3CacheInfo { cbm_mask, min_cbm_bits: number("min_cbm_bits"), num_closids: number("num_closids") })
}

fn bandwidth(info: &Path) -> Option<MemBwInfo> {
    let of = |name: &str| number(&info.join(name));
    Some(MemBwInfo {
        min_bandwidth: of("min_bandwidth")?,
        bandwidth_gran: of("bandwidth_gran").unwrap_or(0),
        delay_linear: of("delay_linear").unwrap_or(0),
        num_closids: of("num_closids").unwrap_or(0),
    })
}

fn mbm(cache: &Path) -> Option<MbmStats> {
    let number = |name: &str| number(&cache.join(name));
    Some(MbmStats { mbm_total_bytes: number("mbm_total_bytes")?, mbm_local_bytes: number("mbm_local_bytes").unwrap_or(0) })
}

/// The directories of the third-level caches, in their order.
fn caches(group: &Path) -> Vec<PathBuf> {
    let dir = sys::fs::open(&group.join("mon_data"), OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
    let mut names = dir.and_then(sys::fs::names).unwrap_or_default();
    names.retain(|name| name.starts_with("mon_L3_"));
    names.sort();
    names.into_iter().map(|name| group.join("mon_data").join(name)).collect()
}

fn text(path: &Path) -> Option<String> {
    sys::fs::read_text(path, MAX).ok()
}

fn number(path: &Path) -> Option<u64> {
    // Unavailable or Error are such values, too.
    text(path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{CmtStats, IntelRdt, L3CacheInfo, MbmStats, MemBwInfo, of};

    const FILES: &[(&str, &str)] = &[
        ("schemata", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"),
        ("info/L3/cbm_mask", "fffff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/num_closids", "8\n"),
        ("web/schemata", "    MB:0=20;1=30\n    L3:0=f;1=ff\n"),
        ("web/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
        ("web/mon_data/mon_L3_00/mbm_total_bytes", "10\n"),
        ("web/mon_data/mon_L3_00/mbm_local_bytes", "5\n"),
        ("web/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
        ("web/mon_groups/one/mon_data/mon_L3_00/llc_occupancy", "64\n"),
    ];

    #[test]
    fn a_group_of_its_own_is_read() {
        let mount = std::env::temp_dir().join(format!("aril-resctrl-{}", std::process::id()));
        for (file, text) in FILES {
            let file = mount.join(file);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            std::fs::write(file, text).expect("a file");
        }
        let (web, one) = (of(&mount, "res:/web\nmon:/\n"), of(&mount, "res:/web\nmon:/one/\n"));
        let (none, odd) = (of(&mount, "res:/\nmon:/\n"), of(&mount, ""));
        std::fs::remove_dir_all(&mount).expect("it is ours");
        assert_eq!((none, odd), (IntelRdt::default(), IntelRdt::default()));
        assert_eq!(web.l3_cache_info, Some(L3CacheInfo { cbm_mask: "fffff".to_owned(), min_cbm_bits: 2, num_closids: 16 }));
        assert_eq!(web.mem_bw_info, Some(MemBwInfo { bandwidth_gran: 10, delay_linear: 1, min_bandwidth: 10, num_closids: 8 }));
        assert_eq!([web.l3_cache_schema_root.as_str(), &web.l3_cache_schema], ["L3:0=fffff;1=fffff", "L3:0=f;1=ff"]);
        assert_eq!([web.mem_bw_schema_root.as_str(), &web.mem_bw_schema], ["MB:0=100;1=100", "MB:0=20;1=30"]);
        assert_eq!(web.mbm_stats, [MbmStats { mbm_total_bytes: 10, mbm_local_bytes: 5 }]);
        assert_eq!(web.cmt_stats, [CmtStats { llc_occupancy: 4096 }]);
        assert_eq!(one.cmt_stats, [CmtStats { llc_occupancy: 64 }]);
    }
}
