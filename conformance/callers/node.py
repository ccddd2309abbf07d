"""A machine of its own for a manager: what a node of a cluster has, in namespaces that take all of it with them.

Mounts, network, processes and cgroups are apart from the machine's: /run, /var/lib, /var/log and /etc are the node's own, and its cgroups are below
one that is the root of all it sees.
"""

import contextlib
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "managers"))

import images  # noqa: E402
from manager import Daemon, call, must, removed, until  # noqa: E402

SOCKET = "unix:///run/cri.sock"
ADDRESS = "10.99.0.1"
HANDLER = "aril"
# What a kubelet sets for the whole machine.
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
OWN = ("/run", "/var/lib", "/var/log")

NETWORK = {
    "cniVersion": "1.0.0",
    "name": "bridge",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cri0",
            "isGateway": True,
            "ipMasq": True,
            "promiscMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

CONTAINERD = """
[grpc]
  address = "/run/cri.sock"
[plugins.'io.containerd.cri.v1.images']
  use_local_image_pull = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
"""
MIRROR = '[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n'

CRIO = """
[crio]
root = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
storage_driver = "overlay"
version_file = "/run/crio/version"
[crio.api]
listen = "/run/cri.sock"
[crio.runtime]
default_runtime = "aril"
pinns_path = "{pinns}"
[crio.image]
pause_image = "{pause}"
[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/usr/lib/cni"]
"""
REGISTRY = '[[registry]]\nprefix = "{name}"\nlocation = "127.0.0.1:5000"\ninsecure = true\n'

# Nobody without CAP_SYS_RESOURCE may lower a process's oom_score_adj, as CRI-O always asks. No runtime can.
RAISED = """#!/bin/sh
for word; do
  case $before in
  --bundle | -b) sed -i -E 's/"oomScoreAdj": ?-[0-9]+/"oomScoreAdj":0/' "$word/config.json" ;;
  --process | -p) [ ! -f "$word" ] || sed -i -E 's/"oomScoreAdj": ?-[0-9]+/"oomScoreAdj":0/' "$word" ;;
  esac
  before=$word
done
exec {runtime} "$@"
"""


def documented(title, first):
    """What README.md of the repository tells a user to write, so that it is what was tried: the block under the heading `title` that begins with `first`."""
    text = (HERE.parent.parent / "README.md").read_text().partition(f"\n### {title}\n")[2]
    return next(block for block in re.findall(r"```\w+\n(.*?)```", text, re.DOTALL) if block.startswith(first))


def capable(bit):
    """Whether this process has a capability, by its number."""
    status = pathlib.Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> bit & 1)


CAP_SYS_RESOURCE = 24


# Before the namespaces


@contextlib.contextmanager
def machine(name):
    """The cgroup `name` in every hierarchy, for a node to have as its root; in the end what a kubelet sets for the whole machine is as it was."""
    before = {file: pathlib.Path("/proc/sys", file).read_text() for file in SYSCTLS}
    tops = [make_cgroup(point, name) for _, point, _ in hierarchies()]
    try:
        yield tops
    finally:
        for top in tops:
            remove_cgroup(top)
        for file, value in before.items():
            pathlib.Path("/proc/sys", file).write_text(value)


def hierarchies():
    """The hierarchies that are mounted: type, place, options."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()
        if kind in ("cgroup", "cgroup2"):
            yield kind, pathlib.Path(left.split()[4]), options


def make_cgroup(point, name):
    controllers = point / "cgroup.controllers"
    if controllers.exists() and controllers.read_text().split():
        (point / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers.read_text().split()))
    for path in (point / name, point / name / "init"):
        path.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            # A cpuset of v1 takes no process before it has these.
            if (path / file).exists() and not controllers.exists():
                (path / file).write_text((path.parent / file).read_text())
    return point / name


def remove_cgroup(top):
    for path, _, _ in os.walk(top, topdown=False):
        until(lambda path=path: removed(path), f"cgroup {path} can be removed")


def isolated(tops, argv):
    """The command that runs `argv` in the namespaces, with these cgroups as the roots. On v2 the root itself must have no process."""
    inner = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
    # The shell stays, to reap what is orphaned: a zombie would look like a process that runs.
    inner += ["sh", "-c", '"$@"; exit $?', "sh", *argv]
    move = "for top in {}; do echo $$ > $top{}/cgroup.procs; done\n"
    listed = " ".join(map(str, tops))
    second = move.format(listed, "/init") + 'exec "$@"'
    return ["sh", "-ec", move.format(listed, "") + 'exec unshare --cgroup sh -ec "$0" sh "$@"', second, *inner]


# In the namespaces


def furnish_cgroups():
    """The hierarchies anew, so that their roots are those of the cgroup namespace."""
    for kind, point, options in list(hierarchies()):
        must(["umount", point])
        wanted = ",".join(word for word in options.split(",") if word not in ("rw", "ro"))
        must(["mount", "-t", kind, *(["-o", wanted] if kind == "cgroup" else []), kind, point])


def furnish(scratch, tree):
    """The node's own directories and network, over the machine's. `tree` is what was unpacked of Debian's packages."""
    furnish_cgroups()
    must(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", scratch])
    for path in ("/etc", "/usr"):
        layers = [f"{tree}{path}", path] if tree and os.path.isdir(f"{tree}{path}") else [path]
        for kind in ("upper", "work"):
            os.makedirs(f"{scratch}{path}/{kind}")
        must(["mount", "-t", "overlay", "-o", f"lowerdir={':'.join(layers)},upperdir={scratch}{path}/upper,workdir={scratch}{path}/work", "overlay", path])
    for path in OWN:
        must(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path])
    os.makedirs("/run/tmp")
    os.environ["TMPDIR"] = "/run/tmp"
    must(["mount", "--make-rshared", "/var/lib"])  # volumes that propagate
    for name in ("iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"):
        # Links that the package's installation makes.
        if shutil.which(name) is None:
            os.symlink("xtables-nft-multi", f"/usr/sbin/{name}")
    must(["ip", "link", "set", "lo", "up"])
    # A default route, though it leads nowhere: kubelet and API server look for one.
    must(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"])
    for words in (["addr", "add", f"{ADDRESS}/24", "dev", "up0"], ["link", "set", "up0", "up"], ["link", "set", "up1", "up"], ["route", "add", "default", "dev", "up0"]):
        must(["ip", *words])
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    write("/etc/cni/net.d/10-bridge.conflist", json.dumps(NETWORK))
    os.makedirs("/run/netns")


def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Node:
    """A manager with its images, whose pods `runtime` runs. `bin` finds a caller's directory by its name; logs are kept in `keep`."""

    def __init__(self, manager, runtime, bin, keep):
        self.manager, self.keep = manager, keep
        registry = multiprocessing.get_context("fork").Process(target=images.serve, args=(images.Images(shutil.which("busybox")),), daemon=True)
        registry.start()
        os.environ["PATH"] = ":".join([str(bin("critest")), str(bin(manager)), os.environ["PATH"]])
        if manager == "crio" and not capable(CAP_SYS_RESOURCE):
            write("/run/raised", RAISED.format(runtime=runtime))
            os.chmod("/run/raised", 0o755)
            runtime = "/run/raised"
        argv = getattr(self, manager)(runtime, bin(manager))
        write("/etc/crictl.yaml", f"runtime-endpoint: {SOCKET}\nimage-endpoint: {SOCKET}\n")
        self.daemon = Daemon(argv, f"{keep}/{manager}.log")
        self.daemon.ready(lambda: call(["crictl", "info"]).code == 0)

    def containerd(self, runtime, _):
        write("/etc/containerd/certs.d/_default/hosts.toml", MIRROR)
        handler = documented("containerd", "version = 3").replace("/usr/local/bin/aril", runtime)
        write("/etc/containerd/config.toml", handler + CONTAINERD.format(pause=images.PAUSE_IMAGE))
        return ["containerd"]

    def crio(self, runtime, programs):
        write("/etc/containers/registries.conf", "".join(REGISTRY.format(name=name) for name in ("docker.io", "registry.k8s.io", "gcr.io", "k8s.gcr.io")))
        write("/etc/containers/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
        write("/etc/crio/crio.conf", CRIO.format(pause=images.PAUSE_IMAGE, pinns=programs / "pinns"))
        write("/etc/crio/crio.conf.d/10-aril.conf", documented("CRI-O", "[crio.runtime]").replace("/usr/local/bin/aril", runtime))
        return ["crio"]
