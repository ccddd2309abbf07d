//! The annotations that change what aril does. All others are the container's own business, as the specification has it.

use super::Pointer;
use super::spec::Spec;

/// The additional groups of the caller stay; those of the configuration are not set.
pub const KEEP_ORIGINAL_GROUPS: &str = "run.oci.keep_original_groups";
/// By which option of mount(8) `mountLabel` is given: `context`, `fscontext`, `defcontext` or `rootcontext`.
pub const MOUNT_CONTEXT_TYPE: &str = "run.oci.mount_context_type";
/// A unix socket that gets the process's pidfd, as `--pidfd-socket`.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// A seccomp profile that names an unknown system call is refused.
pub const SECCOMP_FAIL_UNKNOWN_SYSCALL: &str = "run.oci.seccomp_fail_unknown_syscall";
/// A unix socket that gets the seccomp listener, where the profile has no `listenerPath`.
pub const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
/// A seccomp program in base64, instead of the profile.
pub const SECCOMP_BPF_DATA: &str = "run.oci.seccomp_bpf_data";
/// A file that hooks have as standard output, instead of a pipe of aril's.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// The same for standard error.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// The offset of a clock of the new time namespace, as the kernel's `timens_offsets` takes it: `monotonic 5 0`.
pub const TIMENS_OFFSET: &str = "run.oci.timens_offset";
/// What runs the program instead of the kernel: a virtual machine, a WebAssembly engine. aril has none, and says so.
pub const HANDLER: &str = "run.oci.handler";

/// Code that the runtime is to load as a seccomp agent. aril loads none, and says so.
pub const SECCOMP_PLUGINS: &str = "run.oci.seccomp.plugins";
/// A mount of the cgroup v1 hierarchy `name=systemd`, which is not supported.
pub const FORCE_CGROUP_V1: &str = "run.oci.systemd.force_cgroup_v1";

/// The beginning of properties of the container's unit, with `--systemd-cgroup`.
pub const SYSTEMD_PROPERTY: &str = "org.systemd.property.";

/// With `--systemd-cgroup`: the container's cgroup is this one below the scope, and not the scope itself.
pub const SYSTEMD_SUBGROUP: &str = "run.oci.systemd.subgroup";
/// A cgroup below the container's in which its processes are, without limits of its own. The cgroup namespace begins above it.
pub const DELEGATE_CGROUP: &str = "run.oci.delegate-cgroup";

/// All of them: `potentiallyUnsafeConfigAnnotations` of `aril features`.
pub const KNOWN: &[&str] = &[
    SYSTEMD_PROPERTY,
    DELEGATE_CGROUP,
    HANDLER,
    HOOKS_STDERR,
    HOOKS_STDOUT,
    KEEP_ORIGINAL_GROUPS,
    FORCE_CGROUP_V1,
    MOUNT_CONTEXT_TYPE,
    PIDFD_RECEIVER,
    SECCOMP_BPF_DATA,
    SECCOMP_FAIL_UNKNOWN_SYSCALL,
    SECCOMP_PLUGINS,
    SECCOMP_RECEIVER,
    SYSTEMD_SUBGROUP,
    TIMENS_OFFSET,
];

/// Where an annotation stands.
#[must_use]
pub fn pointer(name: &str) -> Pointer {
    Pointer::to("/annotations").of(name)
}

/// The value of an annotation, if it is there.
#[must_use]
pub fn get<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(name).map(String::as_str)
}
