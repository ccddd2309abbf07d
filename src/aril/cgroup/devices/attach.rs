//! Attaching the device program to a cgroup, beside what others attach there (systemd does).

use super::Devices;
use crate::sys::{self, Errno, bpf};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The name that tells aril's program from others on the same cgroup.
const NAME: &str = "aril_devices";

/// Makes these the device rules of a cgroup, whatever they were: at no moment is there none. `fresh` says that aril made the cgroup just now, so
/// that no program can be there yet.
///
/// # Errors
/// The call that failed; ENOENT of the query if the kernel did not keep the program.
pub(in crate::cgroup) fn replace(cgroup: BorrowedFd<'_>, devices: &Devices, fresh: bool) -> sys::Result<()> {
    let old = if fresh { None } else { ours(cgroup)? };
    if devices.allow_everything() {
        return old.map_or(Ok(()), |old| bpf::prog_detach_cgroup_device(cgroup, old.as_fd()));
    }
    let new = bpf::prog_load_cgroup_device(&devices.program(), NAME)?;
    bpf::prog_attach_cgroup_device(cgroup, new.as_fd(), old.as_ref().map(AsFd::as_fd))?;
    let id = bpf::prog_info(new.as_fd())?.id;
    if bpf::prog_query_cgroup_device(cgroup)?.contains(&id) {
        return Ok(());
    }
    Err(sys::Error::new("bpf BPF_PROG_QUERY BPF_CGROUP_DEVICE: the attached program is not there:", id, Errno::ENOENT))
}

/// Takes aril's program off a cgroup.
///
/// # Errors
/// The call that failed.
pub(in crate::cgroup) fn detach(cgroup: BorrowedFd<'_>) -> sys::Result<()> {
    ours(cgroup)?.map_or(Ok(()), |prog| bpf::prog_detach_cgroup_device(cgroup, prog.as_fd()))
}

fn ours(cgroup: BorrowedFd<'_>) -> sys::Result<Option<OwnedFd>> {
    for id in bpf::prog_query_cgroup_device(cgroup)? {
        let prog = match bpf::prog_get_fd_by_id(id) {
            Ok(prog) => prog,
            // Detached by its owner in between.
            Err(sys::Error { errno: Errno::ENOENT, .. }) => continue,
            Err(error) => return Err(error),
        };
        if bpf::prog_info(prog.as_fd())?.name == bpf::prog_name(NAME) {
            return Ok(Some(prog));
        }
    }
    Ok(None)
}
