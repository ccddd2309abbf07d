//! The resource table: what can be asked of a cgroup, one row each, and how v1 and v2 are told. Limits are written in the order of the rows.
//!
//! A value that the kernel refuses because of the present value of another (memory above the sum with swap, a quota below the burst) is written
//! again after the others, so that such values may grow and shrink together.

use super::text::{self, Spell};
use crate::config::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice};

/// A row.
pub(super) struct Knob {
    /// Where the value stands below `/linux/resources`.
    pub(super) at: &'static str,
    /// The controller, by its v2 name where it has one.
    pub(super) controller: &'static str,
    /// What a configuration asks for.
    pub(super) asked: fn(&LinuxResources) -> Vec<Asked>,
    pub(super) v1: Way,
    pub(super) v2: Way,
}

/// One value that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where it stands below the row's pointer, for one of several: `/0/rate`.
    pub(super) below: String,
    /// Of one of several: its device, interface, HCA or page size. Otherwise a value that is text.
    pub(super) name: String,
    /// A value that is a number; a boolean is 0 or 1.
    pub(super) value: i128,
}

/// How a version is told.
pub(super) enum Way {
    /// By the first of these files that exists; `{}` in a name stands for [`Asked::name`].
    Files(&'static [(&'static str, Spell)]),
    /// It has this one value in any case, and why no other.
    Fixed(i128, &'static str),
    /// It has no such thing: why.
    Lacks(&'static str),
}

/// How every limit spells that there is none.
pub(super) const UNLIMITED: i128 = -1;

use Way::{Files, Fixed, Lacks};

const V2_NETWORK: &str = "cgroup v2 has no network controllers";
const V2_KERNEL: &str = "cgroup v2 counts kernel memory as memory, and has no limit of its own for it";
const V2_REALTIME: &str = "cgroup v2 has no real-time runtime";
const V2_LEAF: &str = "cgroup v2 has no leaf weight";
const V2_SWAPPINESS: &str = "cgroup v2 has no swappiness of a cgroup's own";
const V2_OOM: &str = "cgroup v2 cannot disable the OOM killer";
const V2_HIERARCHY: &str = "cgroup v2 always counts a cgroup's memory to those above it";

const fn knob(at: &'static str, controller: &'static str, asked: fn(&LinuxResources) -> Vec<Asked>, v1: Way, v2: Way) -> Knob {
    Knob { at, controller, asked, v1, v2 }
}

#[rustfmt::skip]
pub(super) const KNOBS: &[Knob] = &[
    // Idle before shares: an idle cgroup refuses a weight.
    knob("/cpu/idle", "cpu", |r| cpu(r, |c| given(c.idle())),
        Files(&[("cpu.idle", text::number)]), Files(&[("cpu.idle", text::number)])),
    knob("/cpu/shares", "cpu", |r| cpu(r, |c| set(c.shares())),
        Files(&[("cpu.shares", text::shares)]), Files(&[("cpu.weight", text::weight)])),
    // A quota is bound to the period, a burst to the quota.
    knob("/cpu/period", "cpu", |r| cpu(r, |c| set(c.period())),
        Files(&[("cpu.cfs_period_us", text::number)]), Files(&[("cpu.max", text::period)])),
    knob("/cpu/quota", "cpu", |r| cpu(r, |c| set(c.quota())),
        Files(&[("cpu.cfs_quota_us", text::number)]), Files(&[("cpu.max", text::quota)])),
    knob("/cpu/burst", "cpu", |r| cpu(r, |c| given(c.burst())),
        Files(&[("cpu.cfs_burst_us", text::number)]), Files(&[("cpu.max.burst", text::number)])),
    knob("/cpu/realtimePeriod", "cpu", |r| cpu(r, |c| set(c.realtime_period())),
        Files(&[("cpu.rt_period_us", text::number)]), Lacks(V2_REALTIME)),
    knob("/cpu/realtimeRuntime", "cpu", |r| cpu(r, |c| set(c.realtime_runtime())),
        Files(&[("cpu.rt_runtime_us", text::number)]), Fixed(UNLIMITED, V2_REALTIME)),
    knob("/cpu/cpus", "cpuset", |r| list(r.cpu().as_ref().and_then(|c| c.cpus().as_ref())),
        Files(&[("cpuset.cpus", text::list)]), Files(&[("cpuset.cpus", text::list)])),
    knob("/cpu/mems", "cpuset", |r| list(r.cpu().as_ref().and_then(|c| c.mems().as_ref())),
        Files(&[("cpuset.mems", text::list)]), Files(&[("cpuset.mems", text::list)])),
    knob("/memory/useHierarchy", "memory", |r| memory(r, |m| given(m.use_hierarchy())),
        Files(&[("memory.use_hierarchy", text::number)]), Fixed(1, V2_HIERARCHY)),
    // Memory before swap: the sum of both is never below memory.
    knob("/memory/limit", "memory", |r| memory(r, |m| set(m.limit())),
        Files(&[("memory.limit_in_bytes", text::memory_within_swap)]), Files(&[("memory.max", text::or_max)])),
    knob("/memory/swap", "memory", swap,
        Files(&[("memory.memsw.limit_in_bytes", text::memory_and_swap)]), Files(&[("memory.swap.max", text::swap)])),
    knob("/memory/reservation", "memory", |r| memory(r, |m| set(m.reservation())),
        Files(&[("memory.soft_limit_in_bytes", text::number)]), Files(&[("memory.low", text::or_max)])),
    knob("/memory/kernel", "memory", |r| memory(r, |m| set(m.kernel())),
        Files(&[("memory.kmem.limit_in_bytes", text::number)]), Fixed(UNLIMITED, V2_KERNEL)),
    knob("/memory/kernelTCP", "memory", |r| memory(r, |m| set(m.kernel_tcp())),
        Files(&[("memory.kmem.tcp.limit_in_bytes", text::number)]), Fixed(UNLIMITED, V2_KERNEL)),
    knob("/memory/swappiness", "memory", |r| memory(r, |m| given(m.swappiness())),
        Files(&[("memory.swappiness", text::swappiness)]), Lacks(V2_SWAPPINESS)),
    knob("/memory/disableOOMKiller", "memory", |r| memory(r, |m| given(m.disable_oom_killer())),
        Files(&[("memory.oom_control", text::number)]), Fixed(0, V2_OOM)),
    knob("/pids/limit", "pids", |r| one(r.pids().and_then(|pids| given(Some(pids.limit())))),
        Files(&[("pids.max", text::or_max)]), Files(&[("pids.max", text::or_max)])),
    knob("/blockIO/weight", "io", |r| block_io(r, |b| set(b.weight())),
        Files(&[("blkio.weight", text::number), ("blkio.bfq.weight", text::number)]),
        Files(&[("io.bfq.weight", text::number), ("io.weight", text::io_weight)])),
    knob("/blockIO/leafWeight", "io", |r| block_io(r, |b| set(b.leaf_weight())),
        Files(&[("blkio.leaf_weight", text::number)]), Lacks(V2_LEAF)),
    knob("/blockIO/weightDevice", "io", |r| weights(r, "weight", LinuxWeightDevice::weight),
        Files(&[("blkio.weight_device", text::named), ("blkio.bfq.weight_device", text::named)]),
        Files(&[("io.bfq.weight", text::named), ("io.weight", text::io_weight_named)])),
    knob("/blockIO/weightDevice", "io", |r| weights(r, "leafWeight", LinuxWeightDevice::leaf_weight),
        Files(&[("blkio.leaf_weight_device", text::named)]), Lacks(V2_LEAF)),
    knob("/blockIO/throttleReadBpsDevice", "io", |r| throttles(r, LinuxBlockIo::throttle_read_bps_device),
        Files(&[("blkio.throttle.read_bps_device", text::named)]), Files(&[("io.max", |asked, _| text::io_max(asked, "rbps"))])),
    knob("/blockIO/throttleWriteBpsDevice", "io", |r| throttles(r, LinuxBlockIo::throttle_write_bps_device),
        Files(&[("blkio.throttle.write_bps_device", text::named)]), Files(&[("io.max", |asked, _| text::io_max(asked, "wbps"))])),
    knob("/blockIO/throttleReadIOPSDevice", "io", |r| throttles(r, LinuxBlockIo::throttle_read_iops_device),
        Files(&[("blkio.throttle.read_iops_device", text::named)]), Files(&[("io.max", |asked, _| text::io_max(asked, "riops"))])),
    knob("/blockIO/throttleWriteIOPSDevice", "io", |r| throttles(r, LinuxBlockIo::throttle_write_iops_device),
        Files(&[("blkio.throttle.write_iops_device", text::named)]), Files(&[("io.max", |asked, _| text::io_max(asked, "wiops"))])),
    knob("/hugepageLimits", "hugetlb", huge_pages,
        Files(&[("hugetlb.{}.limit_in_bytes", text::huge)]), Files(&[("hugetlb.{}.max", text::huge_or_max)])),
    knob("/hugepageLimits", "hugetlb", huge_pages,
        Files(&[("hugetlb.{}.rsvd.limit_in_bytes", text::huge_reserved)]), Files(&[("hugetlb.{}.rsvd.max", text::huge_reserved_or_max)])),
    knob("/rdma", "rdma", |r| rdma(r, "hcaHandles", |hca| hca.hca_handles()),
        Files(&[("rdma.max", |asked, _| text::key_value(asked, "hca_handle"))]),
        Files(&[("rdma.max", |asked, _| text::key_value(asked, "hca_handle"))])),
    knob("/rdma", "rdma", |r| rdma(r, "hcaObjects", |hca| hca.hca_objects()),
        Files(&[("rdma.max", |asked, _| text::key_value(asked, "hca_object"))]),
        Files(&[("rdma.max", |asked, _| text::key_value(asked, "hca_object"))])),
    knob("/network/classID", "net_cls", |r| one(r.network().as_ref().and_then(|network| set(network.class_id()))),
        Files(&[("net_cls.classid", text::number)]), Lacks(V2_NETWORK)),
    knob("/network/priorities", "net_prio", priorities,
        Files(&[("net_prio.ifpriomap", text::named)]), Lacks(V2_NETWORK)),
];

/// A value that means something as soon as it is there.
fn given(value: Option<impl Into<i128>>) -> Option<i128> {
    value.map(Into::into)
}

/// A value of which 0 (and false) means that nothing is asked for: what managers send whose fields are not optional.
fn set(value: Option<impl Into<i128>>) -> Option<i128> {
    given(value).filter(|value| *value != 0)
}

fn one(value: Option<i128>) -> Vec<Asked> {
    value.map(|value| Asked { value, ..Asked::default() }).into_iter().collect()
}

fn list(value: Option<&String>) -> Vec<Asked> {
    value.filter(|text| !text.is_empty()).map(|text| Asked { name: text.clone(), ..Asked::default() }).into_iter().collect()
}

fn cpu(resources: &LinuxResources, value: fn(&LinuxCpu) -> Option<i128>) -> Vec<Asked> {
    one(resources.cpu().as_ref().and_then(value))
}

fn memory(resources: &LinuxResources, value: fn(&LinuxMemory) -> Option<i128>) -> Vec<Asked> {
    one(resources.memory().as_ref().and_then(value))
}

fn block_io(resources: &LinuxResources, value: fn(&LinuxBlockIo) -> Option<i128>) -> Vec<Asked> {
    one(resources.block_io().as_ref().and_then(value))
}

/// Memory without a limit and nothing said of swap is both without one.
fn swap(resources: &LinuxResources) -> Vec<Asked> {
    memory(resources, |memory| set(memory.swap()).or_else(|| memory.limit().filter(|limit| *limit == -1).map(i128::from)))
}

fn weights(resources: &LinuxResources, key: &str, value: fn(&LinuxWeightDevice) -> Option<u16>) -> Vec<Asked> {
    let devices = resources.block_io().as_ref().and_then(|io| io.weight_device().as_deref()).unwrap_or_default();
    let asked = |(index, device): (usize, &LinuxWeightDevice)| {
        let name = format!("{}:{}", device.major(), device.minor());
        value(device).map(|value| Asked { below: format!("/{index}/{key}"), name, value: value.into() })
    };
    devices.iter().enumerate().filter_map(asked).collect()
}

fn throttles(resources: &LinuxResources, devices: fn(&LinuxBlockIo) -> &Option<Vec<LinuxThrottleDevice>>) -> Vec<Asked> {
    let devices = resources.block_io().as_ref().and_then(|io| devices(io).as_deref()).unwrap_or_default();
    let asked = |(index, device): (usize, &LinuxThrottleDevice)| {
        let name = format!("{}:{}", device.major(), device.minor());
        Asked { below: format!("/{index}/rate"), name, value: device.rate().into() }
    };
    devices.iter().enumerate().map(asked).collect()
}

fn huge_pages(resources: &LinuxResources) -> Vec<Asked> {
    let limits = resources.hugepage_limits().as_deref().unwrap_or_default().iter().enumerate();
    limits
        .map(|(index, limit)| Asked { below: format!("/{index}"), name: limit.page_size().clone(), value: limit.limit().into() })
        .collect()
}

fn rdma(resources: &LinuxResources, key: &str, value: fn(&crate::config::spec::LinuxRdma) -> Option<u32>) -> Vec<Asked> {
    let mut asked: Vec<Asked> = resources
        .rdma()
        .iter()
        .flatten()
        .filter_map(|(name, hca)| Some(Asked { below: format!("/{name}/{key}"), name: name.clone(), value: value(hca)?.into() }))
        .collect();
    asked.sort_by(|a, b| a.name.cmp(&b.name));
    asked
}

fn priorities(resources: &LinuxResources) -> Vec<Asked> {
    let priorities = resources.network().as_ref().and_then(|network| network.priorities().as_deref()).unwrap_or_default();
    let asked = |(index, interface): (usize, &crate::config::spec::LinuxInterfacePriority)| Asked {
        below: format!("/{index}"),
        name: interface.name().clone(),
        value: interface.priority().into(),
    };
    priorities.iter().enumerate().map(asked).collect()
}
