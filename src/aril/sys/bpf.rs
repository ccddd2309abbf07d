//! bpf(2), as far as device programs of cgroups need it. A program belongs to the cgroup that it is attached to and goes away with it.

use super::{Errno, Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// An instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset of a jump or of a memory access.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// What the kernel says of a loaded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgInfo {
    /// Its id, unique while it lives.
    pub id: u32,
    /// The name it was loaded under, padded with zeros.
    pub name: [u8; 16],
}

/// A name as the kernel keeps it.
///
/// `name` has at most 15 characters; the rest would be cut off.
#[must_use]
pub fn prog_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    padded.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    padded
}

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct FdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_prog_info`, up to the name; the kernel fills in as much as it is given room for.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// `bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE)`: loads a device program, licence GPL.
///
/// # Errors
/// EPERM: no CAP_BPF with CAP_NET_ADMIN, nor CAP_SYS_ADMIN; EINVAL or EACCES: the verifier refused it.
pub fn prog_load_cgroup_device(insns: &[Insn], name: &str) -> Result<OwnedFd> {
    let call = "bpf BPF_PROG_LOAD BPF_PROG_TYPE_CGROUP_DEVICE";
    let mut attr = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(insns.len()).map_err(|_| Error::bare(call, Errno::E2BIG))?,
        insns: insns.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_name: prog_name(name),
        ..Load::default()
    };
    // SAFETY: attr is the head of union bpf_attr for BPF_PROG_LOAD; insns and the licence outlive the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr) }.map_err(|errno| Error::bare(call, errno))?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor, close-on-exec, that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)`: attaches a device program to a cgroup beside those that are there, or, with
/// BPF_F_REPLACE, at once in the place of one of them.
///
/// # Errors
/// EPERM: no privilege, or a program of an ancestor is attached so that it allows none below; ENOENT: `replace` is not attached; E2BIG: 64 are.
pub fn prog_attach_cgroup_device(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>, replace: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut attr = Attach {
        target_fd: fd_field(cgroup),
        attach_bpf_fd: fd_field(prog),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replace.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, fd_field),
    };
    // SAFETY: attr is the head of union bpf_attr for BPF_PROG_ATTACH and holds descriptors only.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }.map_err(|errno| Error::bare("bpf BPF_PROG_ATTACH BPF_CGROUP_DEVICE", errno))?;
    Ok(())
}

/// `bpf(BPF_PROG_DETACH, BPF_CGROUP_DEVICE)`: takes a device program off a cgroup.
///
/// # Errors
/// ENOENT: it is not attached; EPERM.
pub fn prog_detach_cgroup_device(cgroup: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<()> {
    let mut attr =
        Attach { target_fd: fd_field(cgroup), attach_bpf_fd: fd_field(prog), attach_type: BPF_CGROUP_DEVICE, ..Attach::default() };
    // SAFETY: attr is the head of union bpf_attr for BPF_PROG_DETACH and holds descriptors only.
    unsafe { bpf(BPF_PROG_DETACH, &mut attr) }.map_err(|errno| Error::bare("bpf BPF_PROG_DETACH BPF_CGROUP_DEVICE", errno))?;
    Ok(())
}

/// `bpf(BPF_PROG_QUERY, BPF_CGROUP_DEVICE)`: the ids of the device programs attached to this very cgroup, in the order they run.
///
/// # Errors
/// EPERM.
pub fn prog_query_cgroup_device(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    // The kernel attaches at most BPF_CGROUP_MAX_PROGS, 64, to a cgroup.
    let mut ids = [0_u32; 64];
    let mut attr = Query {
        target_fd: fd_field(cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..Query::default()
    };
    // SAFETY: attr is the head of union bpf_attr for BPF_PROG_QUERY; prog_ids has room for the prog_cnt ids that it says.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }.map_err(|errno| Error::bare("bpf BPF_PROG_QUERY BPF_CGROUP_DEVICE", errno))?;
    Ok(ids.into_iter().take(attr.prog_cnt as usize).collect())
}

/// `bpf(BPF_PROG_GET_FD_BY_ID)`: a descriptor of a loaded program.
///
/// # Errors
/// ENOENT: there is none of this id; EPERM: no CAP_SYS_ADMIN.
pub fn prog_get_fd_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = FdById { id, ..FdById::default() };
    // SAFETY: attr is the head of union bpf_attr for BPF_PROG_GET_FD_BY_ID and holds numbers only.
    let fd = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }.map_err(|errno| Error::new("bpf BPF_PROG_GET_FD_BY_ID", id, errno))?;
    // SAFETY: BPF_PROG_GET_FD_BY_ID returned a new descriptor, close-on-exec, that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: what the kernel says of a program.
///
/// # Errors
/// Those of the call.
pub fn prog_info(prog: BorrowedFd<'_>) -> Result<ProgInfo> {
    let mut info = RawInfo::default();
    let info_len = u32::try_from(size_of::<RawInfo>()).unwrap_or(0);
    let mut attr = InfoByFd { bpf_fd: fd_field(prog), info_len, info: (&raw mut info) as u64 };
    // SAFETY: attr is the head of union bpf_attr for BPF_OBJ_GET_INFO_BY_FD; info has the info_len bytes that it says, all of them integers.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map_err(|errno| Error::bare("bpf BPF_OBJ_GET_INFO_BY_FD", errno))?;
    Ok(ProgInfo { id: info.id, name: info.name })
}

/// `int bpf(int cmd, union bpf_attr *attr, unsigned int size)`
///
/// # Safety
/// `attr` is what `cmd` takes, and every address in it is good for what the kernel does with it.
unsafe fn bpf<T>(cmd: libc::c_long, attr: &mut T) -> std::result::Result<RawFd, Errno> {
    // SAFETY: the caller vouches for attr; the kernel reads and writes no more of it than the size says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd, &raw mut *attr, size_of::<T>()) };
    Errno::result(result).map(|fd| RawFd::try_from(fd).unwrap_or(-1))
}

/// A descriptor as the unsigned fields of bpf_attr take it.
fn fd_field(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}
