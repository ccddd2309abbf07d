"""Limits: those of a new container, by the flags that users know, and those that `update` changes."""

import os
import pathlib

from battery import OPEN_KMSG, Skip, controller, expect, expect_equal, limit_file, shell, started, test, until_logged
from manager import Failed, must

MIB = 1 << 20


def value(m, name, *files):
    """What the first of these files says that the container's cgroup has, on the hierarchy where it is."""
    identity = must(m.argv("inspect", "--format={{.Id}}", name))
    for path, _, found in os.walk("/sys/fs/cgroup"):
        for file in files:
            if path.endswith(identity) and file in found:
                return pathlib.Path(path, file).read_text().strip()
    raise Failed(f"no cgroup of {identity} has {' or '.join(files)}")


def memory(m, name):
    return int(value(m, name, "memory.limit_in_bytes", "memory.max"))


def memory_and_swap(m, name):
    both = value(m, name, "memory.memsw.limit_in_bytes", "memory.swap.max")
    return int(both) + (0 if has_v1("memory") else memory(m, name))


def has_v1(name):
    return os.path.isdir(f"/sys/fs/cgroup/{name}")


def block_device():
    """A block device that holds something: path, and MAJOR:MINOR."""
    for name in sorted(os.listdir("/sys/block")):
        number = pathlib.Path("/sys/block", name, "dev").read_text().strip()
        if os.path.exists(f"/dev/{name}") and pathlib.Path("/sys/block", name, "size").read_text().strip() != "0":
            return f"/dev/{name}", number
    raise Skip("no block device of /sys/block is in /dev")


@test("limit: memory and swap", "podman", "docker")
def _(m):
    controller("memory")
    with started(m, "sleep", "1000", more=["--memory=64m", "--memory-swap=96m", "--memory-reservation=32m"]) as name:
        expect_equal(memory(m, name), 64 * MIB, "memory")
        expect_equal(memory_and_swap(m, name), 96 * MIB, "memory and swap")
        expect_equal(value(m, name, "memory.soft_limit_in_bytes", "memory.low"), str(32 * MIB), "reservation")


@test("limit: number of CPUs, and which", "podman", "docker")
def _(m):
    controller("cpu")
    controller("cpuset")
    script = "cat cpu.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us 2>/dev/null | xargs; grep Cpus_allowed_list /proc/self/status"
    seen = limit_file(m, script, "--cpus=0.5", "--cpuset-cpus=0")
    expect_equal(seen.split(), ["50000", "100000", "Cpus_allowed_list:", "0"], "quota, period, CPUs")


@test("limit: CPU shares", "podman", "docker")
def _(m):
    controller("cpu")
    shares = limit_file(m, "cat cpu.weight cpu/cpu.shares 2>/dev/null; true", "--cpu-shares=512")
    # 20 by the conversion of older runtimes, 59 by the one of today, in which 1024 shares are the default weight of 100.
    if shares not in (["512"] if has_v1("cpu") else ["20", "59"]):
        raise Failed(f"shares of 512 are {shares}")


@test("limit: block IO by device", "podman", "docker")
def _(m):
    controller("blkio" if has_v1("blkio") else "io")
    if m.name == "docker" and "io.max" in must(m.argv("info", "--format={{json .Warnings}}")):
        raise Skip("docker info: no io.max support, so that it passes on no rates")
    if m.name == "docker" and not has_v1("blkio"):
        raise Skip("dockerd here passes on no rates on cgroup v2, to runc neither")
    path, number = block_device()
    flags = [f"--device-read-bps={path}:1mb", f"--device-write-iops={path}:100"]
    with started(m, "sleep", "1000", more=flags) as name:
        if has_v1("blkio"):
            seen = [value(m, name, f"blkio.throttle.{which}_device") for which in ("read_bps", "write_iops")]
            expect_equal(seen, [f"{number} {MIB}", f"{number} 100"], "rates")
        else:
            expect_equal(value(m, name, "io.max"), f"{number} rbps={MIB} wbps=max riops=max wiops=100", "io.max")


@test("limit: no limit of processes", "podman", "docker")
def _(m):
    controller("pids")
    expect_equal(limit_file(m, "cat pids.max pids/pids.max 2>/dev/null; true", "--pids-limit=-1"), "max", "pids.max")


@test("update: processes, memory, swap, CPUs", "podman", "docker")
def _(m):
    for name in ("pids", "memory", "cpu", "cpuset"):
        controller(name)
    with started(m, "sleep", "1000", more=["--memory=64m", "--memory-swap=64m"]) as name:
        # Up and down again: memory is never above memory and swap.
        for size in (128, 48):
            must(m.argv("update", f"--memory={size}m", f"--memory-swap={size + 16}m", name))
            expect_equal((memory(m, name), memory_and_swap(m, name)), (size * MIB, (size + 16) * MIB), "memory, and with swap")
        must(m.argv("update", "--cpu-quota=30000", "--cpu-period=60000", "--cpuset-cpus=0", name))
        quota = [value(m, name, "cpu.cfs_quota_us"), value(m, name, "cpu.cfs_period_us")] if has_v1("cpu") else value(m, name, "cpu.max").split()
        expect_equal(quota, ["30000", "60000"], "quota and period")
        expect_equal(value(m, name, "cpuset.cpus"), "0", "CPUs")


@test("update: number of processes", "docker")
def _(m):
    controller("pids")
    with started(m, "sleep", "1000", more=["--pids-limit=20"]) as name:
        for limit, seen in (("44", "44"), ("-1", "max")):
            must(m.argv("update", f"--pids-limit={limit}", name))
            expect_equal(value(m, name, "pids.max"), seen, "pids.max")


@test("update keeps the device rules", "podman", "docker")
def _(m):
    controller("memory")
    script = f"trap '({OPEN_KMSG}) 2>&1' USR1; echo ready; while :; do sleep 0.1; done"
    with started(m, *shell(script), cap_add=["MKNOD"]) as name:
        until_logged(m, name, "ready")
        must(m.argv("update", "--memory=128m", "--memory-swap=128m", name))
        m.kill(name, "USR1")
        until_logged(m, name, "not permitted")


@test("a device passed in for reading alone", "podman", "docker")
def _(m):
    if not os.path.exists("/dev/loop-control"):
        raise Skip("no /dev/loop-control, a device that opens without a privilege and is not a default one")
    script = "(: < /dev/given) && echo read; (: > /dev/given) 2>&1 | grep -o 'not permitted'; true"
    expect(m.run(*shell(script), more=["--device=/dev/loop-control:/dev/given:r"]), out="read\nnot permitted")
