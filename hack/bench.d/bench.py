"""The benchmarks of hack/bench. Runs inside its tree, beside the programs that it names."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = "/bench"
PROGRAMS = {"aril": f"{HERE}/aril", "crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}


def bundle(name, program="noop", change=lambda config: None):
    """A bundle of the default configuration (runc's, for all alike) whose process is `program`; its path."""
    path = f"{HERE}/bundles/{name}"
    for directory in ("bin", "proc", "sys", "dev"):
        os.makedirs(f"{path}/rootfs/{directory}")
    shutil.copy(f"{HERE}/noop", f"{path}/rootfs/bin/true")
    shutil.copy(f"{HERE}/{program}", f"{path}/rootfs/bin/{program}")
    subprocess.run([PROGRAMS["runc"], "spec", "--bundle", path], check=True)
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    config["process"]["args"] = [f"/bin/{program}"]
    config["process"]["terminal"] = False
    change(config)
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)
    return path


def sample(plan, options):
    """Runs the plan, a list of (kind, subject, argv) as sample.c has it; two medians of each subject in milliseconds, wall and processor time."""
    lines = "".join("\t".join([kind, subject, *argv]) + "\n" for kind, subject, argv in plan)
    command = [f"{HERE}/sample", str(options.rounds), "5", "20"]
    done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    samples = {subject: [] for _, subject, _ in plan}
    for line in done.stdout.splitlines():
        subject, wall, cpu = line.split()
        samples[subject].append((int(wall) / 1e6, int(cpu) / 1e6))
    return [{subject: statistics.median(value[i] for value in values) for subject, values in samples.items()} for i in (0, 1)]


def table(head, rows):
    """Prints rows of cells under their head; a number is right, text left, None a dash."""
    cells = [[("-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    for row in [head, *cells]:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip())


def ratio_table(medians):
    """Prints each subject's median, net of the no-op's, and what that is to crun's and to the floor's."""
    net = {subject: value - medians["no-op"] for subject, value in medians.items() if subject != "no-op"}

    def to(other, subject):
        return net[subject] / net[other] if other in net else None

    rows = [(s, medians[s], net[s], to("crun", s), to("floor", s)) for s in net]
    table(["subject", "median ms", "net ms", "to crun", "to floor"], [*rows, ("no-op", medians["no-op"], None, None, None)])


def run(options):
    plan = [("timed", "no-op", [f"{HERE}/noop"]), ("timed", "floor", [f"{HERE}/floor", bundle("floor") + "/rootfs"])]
    change = docker_seccomp if options.seccomp else lambda config: None
    for name in options.runtimes:
        plan.append(("timed", name, [PROGRAMS[name], "run", "--bundle", bundle(name, change=change), "{}"]))
    if options.seccomp and "aril" in options.runtimes:
        root = "/run/aril-first"
        os.makedirs(root, 0o700)
        # A file of the directory's name: nothing can be kept there.
        open(f"{root}/.seccomp", "x").close()
        plan.append(("timed", "aril-first", [PROGRAMS["aril"], "--root", root, "run", "--bundle", bundle("aril-first", change=change), "{}"]))
    ratio_table(sample(plan, options)[0])


def docker_seccomp(config):
    """Gives a configuration the profile that Docker gives a container with the capabilities of this one, and no others."""
    with open(f"{HERE}/seccomp.json") as file:
        profile = json.load(file)
    mine, release = config["process"]["capabilities"]["bounding"], tuple(int(n) for n in platform.release().split(".")[:2])
    machine = {"x86_64": ("SCMP_ARCH_X86_64", "amd64"), "aarch64": ("SCMP_ARCH_AARCH64", "arm64")}[platform.machine()]

    def meant(condition, all_of):
        facts = [cap in mine for cap in condition.get("caps") or []]
        if "arches" in condition:
            facts.append(machine[1] in condition["arches"])
        if "minKernel" in condition:
            facts.append(release >= tuple(int(n) for n in condition["minKernel"].split(".")))
        return all(facts) if all_of else any(facts)

    rules = [r for r in profile["syscalls"] if meant(r.get("includes") or {}, True) and not meant(r.get("excludes") or {}, False)]
    keys = ("names", "action", "args", "errnoRet")
    natives = [entry for entry in profile["archMap"] if entry["architecture"] == machine[0]]
    config["linux"]["seccomp"] = {
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet"),
        "architectures": [machine[0], *(natives[0]["subArchitectures"] or [])],
        "syscalls": [{key: rule[key] for key in keys if rule.get(key) is not None} for rule in rules]}


def execute(options):
    plan = [("timed", "no-op", [f"{HERE}/noop"])]
    for name in options.runtimes:
        program = PROGRAMS[name]
        # The container's process keeps these files, so none may be a pipe that somebody waits on.
        subprocess.run([program, "run", "--detach", "--bundle", bundle(name, "wait", docker_seccomp), "--pid-file", f"/run/bench-{name}.pid",
                        f"bench-{name}"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        plan.append(("timed", name, [program, "exec", f"bench-{name}", "/bin/true"]))
    for what, medians in zip(("wall time", "processor time"), sample(plan, options)):
        print(f"{what}:")
        ratio_table(medians)
    print("after 1,000 more, one after the other:")
    rows = []
    for name in options.runtimes:
        before = what_there_is(name)
        for _ in range(1000):
            subprocess.run([PROGRAMS[name], "exec", f"bench-{name}", "/bin/true"], check=True)
        rows.append((name, *[f"{after - b:+d}" for after, b in zip(what_there_is(name), before)]))
    table(["runtime", "mounts", "its mounts", "its descriptors", "cgroups", "files in /run", "KiB of kernel memory"], rows)


def what_there_is(name):
    """Counts of what an exec could leave on the machine or in its container, when the kernel has freed what it frees by and by."""
    time.sleep(2)
    with open(f"/run/bench-{name}.pid") as file:
        proc = f"/proc/{file.read().strip()}"
    lines = [sum(1 for _ in open(f"{of}/mountinfo")) for of in ("/proc/self", proc)]
    below = [sum(len(dirs) + add * len(files) for _, dirs, files in os.walk(top)) for top, add in (("/sys/fs/cgroup", 0), ("/run", 1))]
    with open("/proc/meminfo") as file:
        kib = {key: int(value.split()[0]) for key, value in (line.split(":") for line in file)}
    kernel = sum(kib[key] for key in ("SUnreclaim", "KernelStack", "PageTables", "VmallocUsed", "Percpu"))
    return (*lines, len(os.listdir(f"{proc}/fd")), *below, kernel)


def memory(options):
    rows = []
    for name in options.runtimes:
        program, path, found = PROGRAMS[name], bundle(name), []
        for i in range(min(options.rounds, 10)):
            container = f"bench-{name}-{i}"
            # The container's process keeps these files, so none may be a pipe that somebody waits on.
            subprocess.run([program, "create", "--bundle", path, "--pid-file", f"{path}/pid", container],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            with open(f"{path}/pid") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/smaps_rollup") as file:
                kib = dict(line.split()[:2] for line in file.readlines()[1:])
            found.append(int(kib["Private_Clean:"]) + int(kib["Private_Dirty:"]))
            subprocess.run([program, "delete", "--force", container], check=True)
        rows.append((name, int(statistics.median(found))))
    table(["runtime", "private KiB in created"], rows)


def limits():
    """Limits to try, in KiB, from small to large."""
    yield from range(32, 512, 16)
    yield from range(512, 2048, 64)
    yield from range(2048, 32768 + 1, 512)


def runs_within(program, path, container, kib):
    """Whether a container of the bundle does its work within a limit of memory, and what was said if not."""
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    config["linux"]["cgroupsPath"] = f"/{container}"
    config["linux"]["resources"]["memory"] = {"limit": kib << 10, "swap": kib << 10}
    config["process"]["args"] = ["/bin/busybox", "true"]
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)
    try:
        with open(f"{path}/said", "w+") as said:
            done = subprocess.run([program, "run", "--bundle", path, container], stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60)
            said.seek(0)
            return done.returncode == 0, said.read().strip()
    except subprocess.TimeoutExpired:
        return False, "it did not end"
    finally:
        # A runtime whose container was killed may leave it.
        subprocess.run([program, "delete", "--force", container], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def memory_floor(options):
    rows = []
    for name in options.runtimes:
        program, path, said = PROGRAMS[name], bundle(name), ""
        shutil.copy(f"{HERE}/busybox", f"{path}/rootfs/bin/busybox")
        works, said = runs_within(program, path, f"floor-{name}", 1 << 20)
        if not works:
            print(f"{name} runs no container here: {said.splitlines()[-1] if said else 'it says nothing'}")
            rows.append((name, None))
            continue
        for kib in limits():
            if all(runs_within(program, path, f"floor-{name}-{kib}-{i}", kib)[0] for i in range(3)):
                break
        rows.append((name, kib))
    table(["runtime", "KiB at which it runs"], rows)


def waits_with_100(path, container):
    """Lets the bundle's next container have a hundred processes, in a cgroup of its name."""
    shutil.copy(f"{HERE}/many", f"{path}/rootfs/bin/many")
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    config["process"]["args"] = ["/bin/many"]
    config["linux"]["cgroupsPath"] = f"/{container}"
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)


def processes(container):
    with open(f"/sys/fs/cgroup/{container}/cgroup.procs") as file:
        return len(file.readlines())


def delete(options):
    """`delete --force` of a container with 100 processes, from its call to its end; the runtimes take turns."""
    paths = {name: bundle(name) for name in options.runtimes}
    times = {name: [] for name in options.runtimes}
    for i in range(options.rounds):
        for name, path in paths.items():
            program, container = PROGRAMS[name], f"bench-{name}-{i}"
            waits_with_100(path, container)
            subprocess.run([program, "run", "--detach", "--bundle", path, container],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            while processes(container) < 100:
                time.sleep(0.001)
            before = time.perf_counter()
            subprocess.run([program, "delete", "--force", container], check=True)
            times[name].append((time.perf_counter() - before) * 1000)
            if os.path.exists(f"/sys/fs/cgroup/{container}"):
                sys.exit(f"{name} left the cgroup of {container}")
    medians = {name: statistics.median(found) for name, found in times.items()}
    table(["runtime", "median ms", "to crun"], [(n, m, m / medians["crun"] if "crun" in medians else None) for n, m in medians.items()])


def clean(options):
    """Ends what a failed measurement left: /run is this namespace's own, so every container in it is ours."""
    for name in options.runtimes:
        left = subprocess.run([PROGRAMS[name], "list", "--quiet"], stdout=subprocess.PIPE, text=True)
        for container in left.stdout.split():
            subprocess.run([PROGRAMS[name], "delete", "--force", container])


BENCHMARKS = {"run": run, "exec": execute, "memory": memory, "memory-floor": memory_floor, "delete": delete}


def main():
    parser = argparse.ArgumentParser(prog="hack/bench")
    parser.add_argument("benchmark", nargs="?", choices=BENCHMARKS, default="run")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seccomp", action="store_true")
    parser.add_argument("--runtimes", type=lambda s: s.split(","), default=list(PROGRAMS))
    options = parser.parse_args()
    for name in options.runtimes:
        if name not in PROGRAMS:
            parser.error(f"no runtime {name!r}: there are {', '.join(PROGRAMS)}")
        if not os.path.exists(PROGRAMS[name]):
            parser.error(f"{name} is not built: build the release binary, or name one with --aril, or leave it out with --runtimes")
    shutil.rmtree(f"{HERE}/bundles", ignore_errors=True)
    print(f"{options.benchmark}: Linux {platform.release()}, {os.cpu_count()} CPUs")
    for name in options.runtimes:
        version = subprocess.run([PROGRAMS[name], "--version"], stdout=subprocess.PIPE, text=True, check=True)
        print(f"{name}: {version.stdout.splitlines()[0]}")
    try:
        BENCHMARKS[options.benchmark](options)
    finally:
        clean(options)


main()
