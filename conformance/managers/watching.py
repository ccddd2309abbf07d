"""A container that runs, watched and stopped for a while: pause, top, stats, and death for lack of memory seen as one."""

import json
import os

from battery import Skip, controller, expect_equal, shell, started, test, until_logged
from manager import Failed, call, must, until

COUNTS = "n=0; trap 'n=$((n+1)); echo count $n' USR1; echo ready; while :; do sleep 0.05; done"


def task(m, *words):
    """A command of the manager about a container: ctr has it of its task."""
    return m.argv("task", *words) if m.name == "containerd" else m.argv(*words)


def status(m, name):
    if m.name == "containerd":
        line = next(line for line in must(m.argv("task", "ls")).splitlines() if line.split()[0] == name)
        return line.split()[-1].lower()
    return must(m.argv("inspect", "--format={{.State.Status}}", name)).strip()


@test("pause and unpause")
def _(m):
    with started(m, *shell(COUNTS)) as name:
        until_logged(m, name, "ready")
        must(task(m, "pause", name))
        expect_equal(status(m, name), "paused", "status")
        must(task(m, "resume" if m.name == "containerd" else "unpause", name))
        expect_equal(status(m, name), "running", "status")
        m.kill(name, "USR1")
        until_logged(m, name, "count 1")


@test("a paused container is killed")
def _(m):
    with started(m, *shell(COUNTS)) as name:
        until_logged(m, name, "ready")
        must(task(m, "pause", name))
        m.kill(name, "KILL")
        expect_equal(m.wait(name), 137, "exit code")


@test("a paused container is removed by force", "podman", "docker")
def _(m):
    with started(m, "sleep", "1000") as name:
        must(m.argv("pause", name))
        must(m.argv("rm", "--force", "--time=0" if m.name == "podman" else "--volumes", name))
        if call(m.argv("inspect", name)).code == 0:
            raise Failed("it is still there")


@test("top lists every process")
def _(m):
    with started(m, *shell("sleep 1234 & echo ready; wait")) as name:
        until_logged(m, name, "ready")
        if m.name == "containerd":
            listed = must(m.argv("task", "ps", name)).splitlines()[1:]
            expect_equal(len(listed), 2, "processes")
            return
        listed = must(m.argv("top", name)).splitlines()
        if "PID" not in listed[0] or len(listed) != 3 or not any("sleep 1234" in line for line in listed):
            raise Failed(f"top: {listed}")


@test("stats of a container that runs")
def _(m):
    controller("memory")
    with started(m, *shell("while :; do :; done")) as name:
        if m.name == "containerd":
            metrics = must(m.argv("task", "metrics", "--format=json", name))
            if not json.loads(metrics):
                raise Failed(f"no metrics: {metrics}")
            return
        stats = must(m.argv("stats", "--no-stream", "--format={{.MemUsage}} {{.PIDs}}", name)).split()
        used, pids = stats[0], stats[-1]
        if used.startswith("0B") or pids != "1":
            raise Failed(f"stats: {stats}")


@test("death for lack of memory is seen as one", "podman", "docker")
def _(m):
    controller("memory")
    if os.path.isdir("/sys/fs/cgroup/memory"):
        raise Skip("on cgroup v1 conmon does not see it, and containerd only if it comes to it before the container has ended")
    name = m.start("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1", more=["--memory=32m"])
    try:
        expect_equal(m.wait(name), 137, "exit code")
        seen = lambda: must(m.argv("inspect", "--format={{.State.OOMKilled}}", name)).strip() == "true"  # noqa: E731
        until(seen, "the manager knows that memory was lacking")
    finally:
        m.remove(name)
