"""The tests: what a manager's user asks for, and what that user must then see."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import image
from manager import ALL, PATIENCE, Failed, call, cgroups, has_controller, must, new_name, remove_cgroups, ulimits, until

TESTS = []


class Skip(Exception):
    """This machine cannot show it; the reason is what a probe of the machine said."""


def test(name, *managers):
    """Registers a test for the managers named, or for all."""

    def register(function):
        TESTS.append((name, managers or tuple(ALL), function))
        return function

    return register


def tests_of(manager):
    return [(name, function) for name, managers, function in TESTS if manager in managers]


def expect(result, code=0, out=None, err=None):
    """Holds a Result against an exit code, all of standard output, and a pattern in standard error."""
    if result.code != code:
        raise Failed(f"expected exit code {code}\n{result}")
    if out is not None and result.out.strip() != out:
        raise Failed(f"expected stdout {out!r}\n{result}")
    if err is not None and not re.search(err, result.err, re.IGNORECASE):
        raise Failed(f"expected stderr like {err!r}\n{result}")


def expect_equal(seen, expected, what):
    if seen != expected:
        raise Failed(f"{what}: expected {expected!r}, saw {seen!r}")


def shell(script):
    return ("sh", "-c", script)


@contextlib.contextmanager
def started(m, *command, **options):
    """A container in the background for the length of a block."""
    name = m.start(*command, **options)
    try:
        yield name
    finally:
        m.remove(name)


def until_logged(m, name, text):
    until(lambda: text in m.logs(name), f"{name} prints {text!r}")


# Exit codes


@test("run prints what the program prints")
def _(m):
    expect(m.run("echo", "hello from inside"), out="hello from inside")


def exit_code(code):
    @test(f"exit code {code}")
    def _(m):
        expect(m.run(*shell(f"echo ran; exit {code}")), code, out="ran")


for each in (0, 1, 42):
    exit_code(each)


@test("exit code 126 of a file that cannot be executed")
def _(m):
    # ctr has one exit code for every failure to start.
    expect(m.run("/etc/passwd"), 1 if m.name == "containerd" else 126, err="/etc/passwd.*permission denied")


@test("exit code 127 of a program that is not there")
def _(m):
    expect(
        m.run("no-such-program"),
        1 if m.name == "containerd" else 127,
        err="no-such-program.*(executable file not found|no such file or directory)",
    )


@test("exit code 137 of a program that was killed")
def _(m):
    with started(m, "sleep", "1000") as name:
        m.kill(name)
        expect_equal(m.wait(name), 137, "exit code")


# The process


@test("environment, and HOME from the image's passwd file")
def _(m):
    result = m.run(*shell('echo "$GREETING:$HOME:$PATH"'), env=["GREETING=hello = world"])
    expect(result, out=f"hello = world:/root:{image.PATH}")


@test("working directory")
def _(m):
    expect(m.run("pwd", cwd="/usr/bin"), out="/usr/bin")


@test("working directory that the image lacks", "docker")
def _(m):
    expect(m.run("pwd", cwd="/made/for/this"), out="/made/for/this")


@test("user by number", "podman", "docker")
def _(m):
    expect(m.run(*shell("id -u; id -g; id -G"), user="1234:5678"), out="1234\n5678\n5678")


@test("user by name, with additional groups", "podman", "docker")
def _(m):
    result = m.run(*shell("id; echo $HOME"), user="app", groups=["2000"])
    expect(result, out="uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/home/app")


@test("user by number", "containerd")
def _(m):
    def edit(spec):
        spec["process"]["user"] = {"uid": 1234, "gid": 5678, "additionalGids": [2000]}

    expect(m.run_config(edit, *shell("id -u; id -g; id -G")), out="1234\n5678\n5678 2000")


@test("score for the OOM killer", "podman", "docker")
def _(m):
    expect(m.run("cat", "/proc/self/oom_score_adj", more=["--oom-score-adj=321"]), out="321")


@test("umask", "podman")
def _(m):
    expect(m.run(*shell("umask"), more=["--umask=0027"]), out="0027")


@test("hostname", "podman", "docker")
def _(m):
    expect(m.run("hostname", hostname="box.example"), out="box.example")


@test("hostname", "containerd")
def _(m):
    expect(m.run_config(lambda spec: spec.update(hostname="box.example"), "hostname"), out="box.example")


@test("standard input through a pipe, a mebibyte of it")
def _(m):
    expect(m.run("wc", "-c", stdin=b"x" * (1 << 20)), out=str(1 << 20))


@test("standard output and standard error stay apart")
def _(m):
    result = m.run(*shell("echo to out; echo to err >&2"))
    expect(result, out="to out", err="to err")


def session(argv):
    """A session at a terminal of 33 rows and 101 columns: the program prints its size, and reads a line. Its screen and exit code."""
    child, master = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        os.execvp(argv[0], argv)
    screen, typed, deadline = "", False, time.monotonic() + PATIENCE
    try:
        while True:
            if time.monotonic() > deadline or not select.select([master], [], [], PATIENCE)[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise Failed(f"the terminal's session does not end; its screen: {screen!r}")
            try:
                screen += os.read(master, 65536).decode(errors="replace")
            except OSError:  # EIO: the last process let go of the terminal
                break
            if "33 101" in screen and not typed:
                os.write(master, b"some words\n")
                typed = True
    finally:
        os.close(master)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [line.strip() for line in screen.splitlines() if line.strip()], code


# The size comes after the start (the manager sets it), so the program looks until it is there.
AT_TERMINAL = 'tty; until [ "$(stty size 2>/dev/null)" = "33 101" ]; do sleep 0.1; done; stty size; read line; echo "read $line"; exit 42'


@test("a terminal: its name, its size, and what is typed")
def _(m):
    screen = session(m.tty_argv(*shell(AT_TERMINAL)))
    expect_equal(screen, (["/dev/pts/0", "33 101", "some words", "read some words"], 42), "screen and exit code")


# Another process in a container


@test("exec prints what the program prints, and ends as it does")
def _(m):
    with started(m, "sleep", "1000") as name:
        for code in (0, 1, 42):
            expect(m.exec(name, *shell(f"echo out; echo err >&2; exit {code}")), code, out="out", err="err")


@test("exec of a program that is not there: 127; of one that cannot be executed: 126")
def _(m):
    with started(m, "sleep", "1000") as name:
        # ctr has one exit code for every failure to start.
        ctr = m.name == "containerd"
        # Docker up to 26 at least has one for every failure of exec.
        old = m.name == "docker" and int(must(m.argv("version", "--format={{.Server.Version}}")).split(".")[0]) < 27
        missing = "no-such-program.*(executable file not found|no such file or directory)"
        denied = "permission denied"
        # Docker writes what exec was told to standard output.
        for command, code, words in (("no-such-program", 127, missing), ("/etc/passwd", 126, denied)):
            result = m.exec(name, command)
            expect_equal(result.code, 1 if ctr else 126 if old else code, f"exit code of {command}")
            if not re.search(words, result.out + result.err, re.IGNORECASE):
                raise Failed(f"expected words like {words!r}\n{result}")


@test("exec with the container's environment, and another user and directory")
def _(m):
    with started(m, "sleep", "1000", env=["GREETING=hello"]) as name:
        result = m.exec(name, *shell('echo "$GREETING $(id -u):$(id -g) $(pwd)"'), user="1234:5678", cwd="/usr/bin")
        expect(result, out="hello 1234:5678 /usr/bin")


@test("exec runs in the container's namespaces and cgroup")
def _(m):
    with started(m, "sleep", "1000") as name:
        ours = [os.readlink(f"/proc/{m.pid(name)}/ns/{kind}") for kind in ("mnt", "pid", "net", "ipc", "uts")]
        links = "for i in mnt pid net ipc uts; do readlink /proc/self/ns/$i; done; cat /proc/self/cgroup"
        result = m.exec(name, *shell(links))
        expect_equal(result.out.split()[:5], ours, "namespaces")
        expect_equal(result.out.split()[5:], m.exec(name, "cat", "/proc/1/cgroup").out.split(), "cgroups")


@test("standard input of exec comes through, and its end")
def _(m):
    with started(m, "sleep", "1000") as name:
        data = bytes(range(256)) * 2000
        expect(m.exec(name, *shell("wc -c"), stdin=data), out=str(len(data)))


@test("a terminal session by exec")
def _(m):
    with started(m, "sleep", "1000") as name:
        screen, code = session(m.exec_argv(name, *shell(AT_TERMINAL), tty=True))
        expect_equal((screen[1:], code), (["33 101", "some words", "read some words"], 42), "screen and exit code")


@test("exec in the background")
def _(m):
    with started(m, "sleep", "1000") as name:
        expect(m.exec(name, *shell("echo here > /dev/shm/note; exec sleep 999"), detach=True))
        until(lambda: m.exec(name, "cat", "/dev/shm/note").out.strip() == "here", "the process in the background writes")


@test("exec with the container's seccomp profile, capabilities and limits")
def _(m):
    with started(m, "sleep", "1000") as name:
        facts = "grep -E '^(Seccomp|NoNewPrivs|Cap...):' /proc/$1/status; grep 'open files' /proc/$1/limits"
        own = m.exec(name, *shell(facts), "sh", "self")
        expect(m.exec(name, *shell(facts), "sh", "1"), out=own.out.strip())


@test("forty execs at once")
def _(m):
    with started(m, "sleep", "1000") as name, concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: m.exec(name, *shell(f"echo {i}; exit {i}")), range(40)))
    for i, result in enumerate(results):
        expect(result, i, out=str(i))


@test("exec in a paused container is refused, and goes again when it is resumed", "podman", "docker")
def _(m):
    with started(m, "sleep", "1000") as name:
        must(m.argv("pause", name))
        refused = m.exec(name, "true")
        must(m.argv("unpause", name))
        if refused.code == 0:
            raise Failed(f"exec in a paused container is not refused\n{refused}")
        expect(m.exec(name, "true"))


@test("exec ends with the container")
def _(m):
    with started(m, "sleep", "1000") as name, concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(m.exec, name, *shell("echo here > /dev/shm/note; exec sleep 999"))
        until(lambda: m.exec(name, "cat", "/dev/shm/note").out.strip() == "here", "the process writes")
        m.kill(name)
        m.wait(name)
        code = running.result(PATIENCE).code
        if code not in (1, 137, 255):
            raise Failed(f"exec ends with {code}")


@test("health check", "podman", "docker")
def _(m):
    flags = ["--health-cmd=test -e /dev/shm/well", "--health-interval=1s", "--health-retries=1"]
    if m.name == "podman":
        # Without systemd nobody but the user runs it.
        flags[1] = "--health-interval=disable"
    with started(m, "sleep", "1000", more=flags) as name:
        if m.name == "podman":
            expect(call(m.argv("healthcheck", "run", name)), 1)
            must(m.exec_argv(name, "touch", "/dev/shm/well"))
            expect(call(m.argv("healthcheck", "run", name)))
            return
        health = lambda: must(m.argv("inspect", "--format={{.State.Health.Status}}", name))
        until(lambda: health() == "unhealthy", "the container is unhealthy")
        must(m.exec_argv(name, "touch", "/dev/shm/well"))
        until(lambda: health() == "healthy", "the container is healthy")


# File systems


@test("read-only root")
def _(m):
    expect(m.run("touch", "/file", read_only=True), 1, err="read-only file system")


@test("a root that is not read-only can be written to")
def _(m):
    expect(m.run(*shell("echo text > /file && cat /file")), out="text")


@test("tmpfs, with its size and mode, on a read-only root")
def _(m):
    script = (
        "grep -c ' /scratch tmpfs .*size=64k' /proc/mounts; stat -c %a /scratch;"
        "echo kept > /scratch/file; cat /scratch/file; dd if=/dev/zero of=/scratch/large bs=100000 count=1"
    )
    result = m.run(*shell(script), read_only=True, tmpfs=[("/scratch", "rw,size=64k,mode=1770")])
    expect(result, 1, out="1\n1770\nkept", err="no space left")


@test("tmpfs takes over what the image has there", "podman")
def _(m):
    # Podman asks for that (tmpcopyup) wherever it is not told otherwise.
    expect(m.run(*shell("stat -c '%U %a' /home/app; touch /home/new"), tmpfs=[("/home", "rw")]), out="app 755")


@test("size of /dev/shm", "podman", "docker")
def _(m):
    expect(m.run(*shell("df -k /dev/shm | sed 1d | xargs | cut -d' ' -f2"), more=["--shm-size=3m"]), out="3072")


@test("bind mount, both ways")
def _(m):
    source = made_source(m)
    (source / "from-host").write_text("host's")
    expect(
        m.run(*shell("cat /data/from-host; echo container\\'s > /data/from-inside"), binds=[(source, "/data", "rw")]),
        out="host's",
    )
    expect_equal((source / "from-inside").read_text(), "container's\n", "what the container wrote")


@test("bind mount, read-only")
def _(m):
    source = made_source(m)
    expect(m.run("touch", "/data/file", binds=[(source, "/data", "ro")]), 1, err="read-only file system")
    expect_equal(list(source.iterdir()), [], "what the container wrote")


def made_source(m):
    """A directory to bind; the file system it is on is a shared mount."""
    source = pathlib.Path(m.home, new_name())
    source.mkdir()
    return source


def propagation(option, from_host, from_container):
    @test(f"bind mount, {option}: a later mount reaches the container: {yes(from_host)}, the host: {yes(from_container)}")
    def _(m):
        source = made_source(m)
        for folder in ("of-container", "of-host"):
            (source / folder).mkdir()
        script = (
            "mount -t tmpfs none /data/of-container && touch /data/of-container/file; echo mounted;"
            "until [ -e /data/go ]; do sleep 0.1; done;"
            "if [ -e /data/of-host/file ]; then echo host yes; else echo host no; fi"
        )
        try:
            with started(m, *shell(script), **may_mount(m), binds=[(source, "/data", option)]) as name:
                until_logged(m, name, "mounted")
                seen_on_host = (source / "of-container/file").exists()
                must(["mount", "-t", "tmpfs", "none", source / "of-host"])
                (source / "of-host/file").touch()
                (source / "go").touch()
                code = m.wait(name)
                until_logged(m, name, "host ")
                logs = m.logs(name).strip()
        finally:
            for folder in ("of-container", "of-host"):
                call(["umount", source / folder])
        expect_equal((code, logs), (0, f"mounted\nhost {yes(from_host)}"), "exit code and log of the container")
        expect_equal(yes(seen_on_host), yes(from_container), "the container's mount on the host")


def may_mount(m):
    """Options with which a container may mount; less than --privileged, which asks for more than some machines can give."""
    apparmor = pathlib.Path("/sys/module/apparmor/parameters/enabled")
    confined = m.name != "containerd" and apparmor.exists() and apparmor.read_text().strip() == "Y"
    more = ["--security-opt=apparmor=unconfined"] if confined else []
    return {"cap_add": ["SYS_ADMIN"], "seccomp": "unconfined", "more": more}


def yes(value):
    return "yes" if value else "no"


for each in ("private", "rprivate"):
    propagation(each, from_host=False, from_container=False)
for each in ("slave", "rslave"):
    propagation(each, from_host=True, from_container=False)
for each in ("shared", "rshared"):
    propagation(each, from_host=True, from_container=True)


# Privileges

CAP_CHOWN, CAP_NET_ADMIN, CAP_SYS_ADMIN = 0, 12, 21


def capabilities(m, **options):
    """The effective set of a container's process, as an integer."""
    result = m.run(*shell("sed -n 's/^CapEff:.//p' /proc/self/status"), **options)
    expect(result)
    return int(result.out, 16)


@test("default capabilities are few")
def _(m):
    caps = capabilities(m)
    expect_equal(
        [caps >> cap & 1 for cap in (CAP_CHOWN, CAP_NET_ADMIN, CAP_SYS_ADMIN)], [1, 0, 0], "CHOWN, NET_ADMIN, SYS_ADMIN"
    )


@test("a capability added")
def _(m):
    expect_equal(capabilities(m, cap_add=["NET_ADMIN"]) >> CAP_NET_ADMIN & 1, 1, "NET_ADMIN")
    change = ("ip", "link", "set", "lo", "mtu", "1400")
    expect(m.run(*change, cap_add=["NET_ADMIN"]))
    expect(m.run(*change), 2, err="operation not permitted")


@test("a capability dropped")
def _(m):
    expect_equal(capabilities(m, cap_drop=["CHOWN"]) >> CAP_CHOWN & 1, 0, "CHOWN")
    expect(m.run("chown", "1000", "/tmp", cap_drop=["CHOWN"]), 1, err="operation not permitted")
    expect(m.run("chown", "1000", "/tmp"))


@test("all capabilities dropped", "podman", "docker")
def _(m):
    expect_equal(capabilities(m, cap_drop=["ALL"]), 0, "effective set")


@test("a user who is not root has no capabilities", "podman", "docker")
def _(m):
    expect_equal(capabilities(m, user="app"), 0, "effective set")


@test("no new privileges", "podman", "docker")
def _(m):
    result = m.run(*shell("sed -n 's/^NoNewPrivs:.//p' /proc/self/status"), more=["--security-opt=no-new-privileges"])
    expect(result, out="1")


@test("the default sandbox: masked and read-only paths, no mounts, no devices of the host's")
def _(m):
    expect(m.run(*shell("head -c 1 /proc/kcore | wc -c")), out="0")
    expect(m.run(*shell("echo 0 > /proc/sys/net/ipv4/ip_forward")), 1, err="read-only file system")
    # What its own exit code is depends on busybox's release.
    expect(m.run(*shell("mount -t tmpfs none /tmp || exit 1")), 1, err="permission denied|operation not permitted")
    names = "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    seen = m.run("ls", "/dev")
    expect(seen)
    expect_equal(sorted(set(seen.out.split()) - set(names.split())), [], "further devices")


# The kernel log, which is among no one's default devices; opened for writing, which asks for no capability.
OPEN_KMSG = "mknod /tmp/node c 1 11 && : > /tmp/node && echo opened"


@test("the device rules deny a node that the container makes")
def _(m):
    expect(m.run(*shell(OPEN_KMSG), cap_add=["MKNOD"]), 1, out="", err="operation not permitted")


@test("a device rule added allows it", "podman", "docker")
def _(m):
    expect(m.run(*shell(OPEN_KMSG), cap_add=["MKNOD"], more=["--device-cgroup-rule=c 1:11 rwm"]), out="opened")


@test("a device passed in", "podman", "docker")
def _(m):
    script = "[ -c /dev/given ] && : > /dev/given && echo opened"
    expect(m.run(*shell(script), more=["--device=/dev/kmsg:/dev/given:rw"]), out="opened")


@test("--privileged: every capability, the host's devices, mounts, no seccomp")
def _(m):
    status = pathlib.Path("/proc/self/status").read_text()
    bounding = int(re.search(r"^CapBnd:\s*(\S+)", status, re.MULTILINE).group(1), 16)
    every = (2 << int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())) - 1
    if m.name == "docker" and bounding != every and must([m.runtime, "--version"]).startswith("runc "):
        # The specification has a runtime warn of what it cannot grant, and go on.
        raise Skip(f"root lacks capabilities here ({bounding:x} of {every:x}); Docker asks for all, and runc refuses")
    # Docker 20 asks for the 38 that it knows of.
    known = (1 << 38) - 1
    expect_equal(capabilities(m, privileged=True) & known, bounding & known, "effective set")
    script = "mount -t tmpfs none /mnt && echo mounted; sed -n 's/^Seccomp:.//p' /proc/self/status; : < /dev/kmsg && echo kmsg"
    devices = {"more": ["--device", "/dev/kmsg"]} if m.name == "containerd" else {}
    expect(m.run(*shell("mkdir -p /mnt; " + script), privileged=True, **devices), out="mounted\n0\nkmsg")


@test("sysctl of the container's own", "podman", "docker")
def _(m):
    result = m.run("cat", "/proc/sys/kernel/shm_rmid_forced", more=["--sysctl=kernel.shm_rmid_forced=1"])
    expect(result, out="1")


# Seccomp


def seccomp_mode(m, **options):
    result = m.run(*shell("sed -n 's/^Seccomp:.//p' /proc/self/status"), **options)
    expect(result)
    return result.out.strip()


@test("seccomp: the default profile")
def _(m):
    expect_equal(seccomp_mode(m, seccomp="default"), "2", "seccomp mode")
    # The capability alone would get as far as the file, which holds no swap space.
    expect(m.run("swapon", "/etc/passwd", seccomp="default", cap_add=["SYS_ADMIN"]), 1, err="operation not permitted")


@test("seccomp: unconfined")
def _(m):
    expect_equal(seccomp_mode(m, seccomp="unconfined"), "0", "seccomp mode")
    expect(m.run("swapon", "/etc/passwd", seccomp="unconfined", cap_add=["SYS_ADMIN"]), 1, err="invalid argument")


@test("seccomp: a custom profile, with its own errno and an argument that is looked at")
def _(m):
    profile = pathlib.Path(m.home, new_name() + ".json")
    rules = [
        {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
    ]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    expect(m.run("mkdir", "/tmp/x", seccomp=profile), 1, err="no space left")
    expect(m.run(*shell("kill -USR1 $$"), seccomp=profile), 1, err="operation not permitted")
    expect(m.run(*shell("kill -0 $$ && echo ok"), seccomp=profile), out="ok")


# Limits


@test("rlimits", "podman", "docker")
def _(m):
    expect(m.run(*shell("ulimit -n; ulimit -u")), out="1024\n4096")
    expect(m.run(*shell("ulimit -n; ulimit -Hn"), more=["--ulimit=nofile=128:256"]), out="128\n256")


def controller(name):
    """Skips where no hierarchy of this machine has the controller."""
    if not has_controller(name):
        raise Skip(f"no cgroup hierarchy of this machine has the {name} controller")


def limit_file(m, script, *flags):
    result = m.run(*shell(f"cd /sys/fs/cgroup; {script}"), more=flags)
    expect(result)
    return result.out.strip()


@test("limit: number of processes", "podman", "docker")
def _(m):
    controller("pids")
    expect_equal(limit_file(m, "cat pids.max pids/pids.max 2>/dev/null; true", "--pids-limit=77"), "77", "pids.max")
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; exit 0"
    seen = m.run(*shell(script), more=["--pids-limit=4"])
    expect(seen, seen.code or 1, err="fork|resource temporarily unavailable")


@test("limit: memory, and death by it")
def _(m):
    controller("memory")
    flags = ["--memory-limit", str(32 << 20)] if m.name == "containerd" else ["--memory=32m"]
    # One process that touches 256 MiB.
    expect(m.run("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1", more=flags), 137)
    expect(m.run("dd", "if=/dev/zero", "of=/dev/null", "bs=4M", "count=1", more=flags))


@test("limit: CPU shares and quota", "podman", "docker")
def _(m):
    controller("cpu")
    script = "cat cpu.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us 2>/dev/null | xargs"
    quota = limit_file(m, script, "--cpu-quota=20000", "--cpu-period=100000", "--cpu-shares=512")
    expect_equal(quota, "20000 100000", "quota and period")


# The life of a container


@test("logs of a container that goes on, from both streams", "podman", "docker")
def _(m):
    with started(m, *shell("echo to out; echo to err >&2; sleep 1000")) as name:
        until_logged(m, name, "to out")
        until(lambda: call(m.argv("logs", name)).err.strip() == "to err", "standard error is in the log")


@test("a log kept by the shim", "containerd")
def _(m):
    log = pathlib.Path(m.home, new_name() + ".log")
    name = new_name()
    must(m.run_argv(*shell("echo to the log; sleep 1000"), name=name, head=("--detach", "--log-uri", f"file://{log}")))
    try:
        until(lambda: log.exists() and "to the log" in log.read_text(), "the log is written")
    finally:
        must(m.argv("task", "rm", "--force", name))
        must(m.argv("container", "rm", name))


@test("kill with another signal")
def _(m):
    with started(m, *shell("trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done")) as name:
        until_logged(m, name, "ready")
        m.kill(name, "USR1")
        expect_equal(m.wait(name), 3, "exit code")
        until_logged(m, name, "caught")


@test("stop lets the program end by itself", "podman", "docker")
def _(m):
    with started(m, *shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done")) as name:
        until_logged(m, name, "ready")
        must(m.argv("stop", f"--time={PATIENCE // 2}", name))
        expect_equal(m.wait(name), 7, "exit code")


@test("stop kills after its timeout", "podman", "docker")
def _(m):
    with started(m, *shell("trap '' TERM; echo ready; while :; do sleep 0.1; done")) as name:
        until_logged(m, name, "ready")
        must(m.argv("stop", "--time=1", name))
        expect_equal(m.wait(name), 137, "exit code")


@test("restart keeps the file system and starts anew", "podman", "docker")
def _(m):
    with started(m, *shell("echo start >> /starts; wc -l < /starts; sleep 1000")) as name:
        until_logged(m, name, "1")
        first = m.pid(name)
        must(m.argv("restart", "--time=0", name))
        until(lambda: m.logs(name).split() == ["1", "2"], "the log of two starts")
        if m.pid(name) in (0, first):
            raise Failed(f"process {first} goes on")


@test("a second task in the same container", "containerd")
def _(m):
    # ctr drops the output of a task that ends before ctr has opened its fifos (its client cancels them when it deletes the task): it
    # goes on until what it said was seen.
    seen = made_source(m)
    script = "echo start >> /starts; n=$(wc -l < /starts); echo $n; until [ -e /data/$n ]; do sleep 0.1; done"
    with started(m, *shell(script), binds=[(seen, "/data", "rw")]) as name:
        until_logged(m, name, "1\n")
        (seen / "1").touch()
        expect_equal((m.wait(name), m.logs(name).strip()), (0, "1"), "first exit code and log")
        with open(seen / "log", "wb") as log:
            second = subprocess.Popen(m.argv("task", "start", name), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: (seen / "log").read_text() == "2\n", "the second task says what it found")
            (seen / "2").touch()
            expect_equal(second.wait(PATIENCE), 0, "second exit code")
        finally:
            second.kill()
            second.wait()


@test("create and start as two steps", "podman", "docker")
def _(m):
    name = new_name()
    must(m.argv("create", f"--name={name}", *m.flags(), image.NAME, "echo", "started"))
    try:
        expect(call(m.argv("start", "--attach", name)), out="started")
        expect(call(m.argv("start", "--attach", name)), out="started")
    finally:
        m.remove(name)


@test("a name that is taken", "podman", "docker")
def _(m):
    with started(m, "sleep", "1000") as name:
        expect(m.run("true", more=[f"--name={name}"]), 125, err="already in use")


@test("50 containers started at once")
def _(m):
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        pending = [pool.submit(m.start, *shell(f"echo number {i}; sleep 1000")) for i in range(50)]
        names = [each.result() for each in pending if each.exception() is None]
        try:
            for each in pending:
                each.result()
            for i, name in enumerate(names):
                until_logged(m, name, f"number {i}\n")
            if m.name == "containerd":
                running = [n for n in must(m.argv("task", "ls", "--quiet")).split() if n in names]
            else:
                running = must(m.argv("ps", "--quiet", "--filter=status=running")).split()
            expect_equal(len(running), 50, "containers that run")
        finally:
            if m.name == "containerd":
                list(pool.map(m.remove, names))
            else:
                m.remove(*names)


# Namespaces


NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")


@test("every namespace is the container's own")
def _(m):
    result = m.run(*shell("; ".join(f"readlink /proc/self/ns/{kind}" for kind in NAMESPACES)))
    expect(result)
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in NAMESPACES]
    expect_equal([kind for kind in result.out.split() if kind in ours], [], "namespaces shared with the host")
    expect(m.run(*shell("echo $$")), out="1")


@test("the host's pid, network and IPC namespaces", "podman", "docker")
def _(m):
    kinds = ("ipc", "net", "pid")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    result = m.run(*shell(script), network="host", more=["--pid=host", "--ipc=host"])
    expect(result, out="\n".join(os.readlink(f"/proc/self/ns/{kind}") for kind in kinds))


@test("a cgroup namespace: the container's cgroup is the root of what it sees", "podman", "docker")
def _(m):
    result = m.run(*shell("cut -d: -f3 /proc/self/cgroup | sort -u"), more=["--cgroupns=private"])
    expect(result, out="/")


LEAVE = "echo a note > /dev/shm/note; exec sleep 1234"
SEE_IT = "until ps -o args | grep '^sleep 1234$'; do sleep 0.1; done"
LOOK = f"{SEE_IT}; hostname; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; cat /dev/shm/note"


@test("a pod with shared namespaces", "podman")
def _(m):
    pod = new_name()
    # On cgroup v2, and with cgroupfs, Podman 4 forbids every device to the pod's cgroup, and with it to what is below.
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    apart = ["--share-parent=false"] if v2 else []
    flags = m.always if v2 else ulimits()
    must(
        m.argv(
            "pod", "create", f"--name={pod}", "--share=net,ipc,uts,pid", "--network=none", f"--cgroup-parent=/{m.cgroup}",
            "--hostname=podhost", *apart, f"--infra-image={image.NAME}", "--infra-command=/bin/sleep 1000",
        )
    )  # fmt: skip
    try:
        first = must(m.argv("run", "--detach", f"--pod={pod}", *flags, image.NAME, *shell(LEAVE)))
        seen = call(m.argv("run", "--rm", f"--pod={pod}", *flags, image.NAME, *shell(LOOK)))
        ours = [os.readlink(f"/proc/{m.pid(first)}/ns/{kind}") for kind in ("net", "ipc")]
        expect(seen, out="\n".join(["sleep 1234", "podhost", *ours, "a note"]))
        must(m.argv("pod", "stop", "--time=0", pod))
        must(m.argv("pod", "start", pod))
        until(lambda: must(m.argv("pod", "inspect", "--format={{.State}}", pod)) == "Running", "the pod runs again")
    finally:
        number = must(m.argv("pod", "inspect", "--format={{.ID}}", pod))
        must(m.argv("pod", "rm", "--force", "--time=0", pod))
        # Podman makes the pod's own cgroup, and in some hierarchies forgets it.
        remove_cgroups(number)


@test("another container's namespaces", "docker")
def _(m):
    with started(m, *shell(LEAVE), hostname="podhost", more=["--ipc=shareable"]) as first:
        joined = [f"--ipc=container:{first}", f"--pid=container:{first}"]
        seen = m.run(*shell(LOOK), network=f"container:{first}", more=joined)
        ours = [os.readlink(f"/proc/{m.pid(first)}/ns/{kind}") for kind in ("net", "ipc")]
        expect(seen, out="\n".join(["sleep 1234", "podhost", *ours, "a note"]))


@test("another container's namespaces", "containerd")
def _(m):
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
    with started(m, "sleep", "1234") as first:
        pid = m.pid(first)
        joined = [word for kind, file in kinds.items() for word in ("--with-ns", f"{kind}:/proc/{pid}/ns/{file}")]
        script = "; ".join(f"readlink /proc/self/ns/{file}" for file in kinds.values())
        ours = [os.readlink(f"/proc/{pid}/ns/{file}") for file in kinds.values()]
        expect(m.run(*shell(f"{SEE_IT}; {script}"), more=joined), out="\n".join(["sleep 1234", *ours]))


def user_namespaces():
    probe = call(["unshare", "--user", "true"])
    if probe.code != 0:
        raise Skip(f"this machine makes no user namespace: {probe.err.strip()}")


IN_USERNS = "id -u; cat /proc/self/uid_map /proc/self/gid_map | xargs; touch /file && stat -c %u:%g /file; : > /dev/null && echo null"
SEEN_IN_USERNS = "0\n0 100000 65536 0 100000 65536\n0:0\nnull"


@test("a user namespace", "podman", "containerd")
def _(m):
    user_namespaces()
    flags = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    expect(m.run(*shell(IN_USERNS), more=flags), out=SEEN_IN_USERNS)


@test("a user namespace", "docker")
def _(m):
    user_namespaces()
    for file in ("/etc/subuid", "/etc/subgid"):
        pathlib.Path(file).write_text("daemon:100000:65536\n")
    with another(m) as remapped:
        remapped.userns_remap = "daemon"
        remapped.up()
        expect(remapped.run(*shell(IN_USERNS)), out=SEEN_IN_USERNS)
        # Docker's own escape from the map, per container.
        expect(remapped.run(*shell("cat /proc/self/uid_map | xargs"), more=["--userns=host"]), out="0 0 4294967295")


@contextlib.contextmanager
def another(m):
    """A second daemon of the same kind for the length of a block; the block starts it."""
    other = type(m)(m.runtime, f"{m.home}/{new_name()}", m.archive, m.cgroup)
    try:
        yield other
    finally:
        other.down()


# Networks made in the container's namespace

HOOK = """#!/bin/sh
# The state that the runtime writes on standard input names the process whose network namespace it is.
exec 2>> {log}
pid=$(sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p')
nsenter --target "$pid" --net ip link add hook0 type veth peer name hook1 &&
nsenter --target "$pid" --net ip address add 192.0.2.7/24 dev hook0
"""


def hook(m):
    """A hook program that makes the interface hook0 in the container's network namespace. Returns its path."""
    probe = call(["unshare", "--net", "ip", "link", "add", "hook0", "type", "veth", "peer", "name", "hook1"])
    if probe.code != 0:
        raise Skip(f"this machine makes no veth pair: {probe.err.strip()}")
    path = pathlib.Path(m.home, new_name() + "-hook")
    path.write_text(HOOK.format(log=f"{path}.log"))
    path.chmod(0o755)
    return path


def expect_interface(result):
    if result.code != 0 or "inet 192.0.2.7/24" not in result.out:
        raise Failed(f"expected 192.0.2.7/24 on hook0\n{result}")


SHOW_INTERFACE = ("ip", "address", "show", "dev", "hook0")


@test("a network made by a createRuntime hook", "podman")
def _(m):
    hooks = pathlib.Path(m.home, new_name())
    hooks.mkdir()
    definition = {"version": "1.0.0", "hook": {"path": str(hook(m)), "args": ["hook"], "env": [f"PATH={image.PATH}"]}}
    definition |= {"when": {"always": True}, "stages": ["createRuntime"]}
    (hooks / "network.json").write_text(json.dumps(definition))
    expect_interface(call(m.argv("run", "--rm", *m.flags(), image.NAME, *SHOW_INTERFACE, hooks=hooks)))


def network_by(stage):
    @test(f"a network made by a {stage} hook", "containerd")
    def _(m):
        program = {"path": str(hook(m)), "env": [f"PATH={image.PATH}"]}
        expect_interface(m.run_config(lambda spec: spec.update(hooks={stage: [program]}), *SHOW_INTERFACE))


for each in ("prestart", "createRuntime"):
    network_by(each)


@test("Docker's own bridge network between two containers", "docker")
def _(m):
    probe = call(["unshare", "--net", "ip", "link", "add", "type", "bridge"])
    if probe.code != 0:
        raise Skip(f"this machine makes no bridge: {probe.err.strip()}")
    hook(m)  # for its probe: Docker needs veth pairs too
    network = new_name()
    must(m.argv("network", "create", "--driver=bridge", "--subnet=192.0.2.0/24", network))
    try:
        with started(m, "sleep", "1000", network=network, more=["--ip=192.0.2.10"]):
            result = m.run("ping", "-c", "1", "192.0.2.10", network=network)
            expect(result)
            shown = m.run("ip", "address", "show", "dev", "eth0", network=network, more=["--ip=192.0.2.11"])
            if "inet 192.0.2.11/24" not in shown.out:
                raise Failed(f"expected 192.0.2.11/24 on eth0\n{shown}")
    finally:
        must(m.argv("network", "rm", network))


# What each manager does besides


def build_words(m):
    words = ["build", "--network=none"]
    # Podman takes the cgroup's name for that of each RUN itself.
    return words if m.name == "docker" else [*words, "--isolation=oci", f"--cgroup-parent=/{m.cgroup}/build", *ulimits()]


@test("an image build with RUN, by the runtime", "podman", "docker")
def _(m):
    context = pathlib.Path(m.home, new_name())
    context.mkdir()
    (context / "file").write_text("from the context\n")
    (context / "Dockerfile").write_text(
        f"FROM {image.NAME}\nCOPY file /file\nRUN id -u > /user && cat /file > /copy\nUSER app\nRUN id -u > /tmp/user\n"
    )
    tag = "localhost/built:latest"
    if m.name == "podman":
        # Podman would build without the runtime where it is told to (--isolation=chroot); a note of each call shows that it is not.
        noted = pathlib.Path(m.home, new_name())
        wrapper = pathlib.Path(f"{noted}-runtime")
        wrapper.write_text(f'#!/bin/sh\necho "$*" >> {noted}\nexec {m.runtime} "$@"\n')
        wrapper.chmod(0o755)
        must(m.argv(*build_words(m), f"--tag={tag}", context, runtime=wrapper))
        calls = noted.read_text() if noted.exists() else ""
        expect_equal(len(re.findall(r"\bcreate\b", calls)), 2, f"containers that the runtime made for RUN ({calls})")
    else:
        # BuildKit looks for a runtime of its own; the classic builder takes the daemon's.
        must(m.argv(*build_words(m), f"--tag={tag}", context), env={"DOCKER_BUILDKIT": "0"})
    built = call(m.argv("run", "--rm", *m.flags(), tag, *shell("cat /user /copy /tmp/user")))
    expect(built, out="0\nfrom the context\n1000")


@test("a failing RUN ends the build with its exit code", "podman", "docker")
def _(m):
    context = pathlib.Path(m.home, new_name())
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {image.NAME}\nRUN echo reached && exit 9\n")
    result = call(m.argv(*build_words(m), context), env={"DOCKER_BUILDKIT": "0"})
    if result.code == 0 or "\nreached\n" not in result.out or not re.search(r"\b(code:?|status) 9\b", result.err):
        raise Failed(f"expected what the step prints, and a failure that names exit code 9\n{result}")


@test("the runtime as containers.conf names it, with its JSON log", "podman")
def _(m):
    config = pathlib.Path(m.home, new_name() + ".conf")
    config.write_text(
        '[engine]\nruntime = "under-test"\nruntime_supports_json = ["under-test"]\n'
        f'[engine.runtimes]\nunder-test = ["{named(m)}"]\n'
    )
    seen = call(m.argv("info", "--format={{.Host.OCIRuntime.Name}}", config=config))
    expect(seen, out="under-test")
    run = m.argv("run", "--rm", *m.flags(), image.NAME, config=config)
    expect(call([*run, *shell("exit 42")]), 42)
    expect(call([*run, "/etc/passwd"]), 126, err="/etc/passwd.*permission denied")
    # Podman shows the message alone where the log is JSON that it can read.
    result = call([*run, "no-such-program"])
    expect(result, 127, err="no-such-program.*(executable file not found|no such file or directory)")
    if '"level"' in result.err or "level=error" in result.err:
        raise Failed(f"expected the message without its log's dress\n{result}")


@test("no cgroup of its own, by --cgroups=disabled", "podman")
def _(m):
    config = pathlib.Path(m.home, new_name() + ".conf")
    config.write_text(
        '[engine]\nruntime = "under-test"\nruntime_supports_nocgroup = ["under-test"]\n'
        f'[engine.runtimes]\nunder-test = ["{named(m)}"]\n'
    )
    # Podman refuses limits beside it, and has some of its own.
    argv = m.argv("run", "--rm", "--cgroups=disabled", "--cgroupns=host", "--network=none", *ulimits(), image.NAME, config=config)
    expect(call([*argv, "cat", "/proc/self/cgroup"]), out=pathlib.Path("/proc/self/cgroup").read_text().strip())


@test("a container that says itself when it is ready: --sdnotify=container", "podman")
def _(m):
    path = f"{m.home}/{new_name()}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        # syslog's client is the one program of the image that writes to such a socket.
        script = 'ln -s $NOTIFY_SOCKET /dev/log; logger "$(printf "is up\\nREADY=1")"; sleep 1000'
        name = new_name()
        result = call(
            m.argv("run", "--detach", f"--name={name}", "--sdnotify=container", *m.flags(), image.NAME, *shell(script)),
            env={"NOTIFY_SOCKET": path},
        )
        try:
            expect(result)
            heard = ""
            while "READY=1" not in heard:
                heard = manager.recv(4096).decode()
        finally:
            m.remove(name)


def named(m):
    """The runtime under a name that Podman does not know by itself."""
    link = pathlib.Path(m.home, "under-test")
    if not link.exists():
        link.symlink_to(m.runtime)
    return link


@test("file descriptors passed on", "podman")
def _(m):
    reader, writer = os.pipe()
    os.write(writer, b"through the pipe")
    os.close(writer)
    try:
        if reader != 3:
            os.dup2(reader, 3)
        result = call(m.run_argv(*shell("cat <&3"), more=["--preserve-fds=1"]), pass_fds=(3,))
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.close(3)
    expect(result, out="through the pipe")


@test("--init: a process of Docker's before the program", "docker")
def _(m):
    expect(m.run(*shell("kill -KILL $$"), more=["--init"]), 137)


@test("nothing is left of the containers that ended: no cgroup, and nothing for the runtime to list")
def _(m):
    """Last of all, so that it speaks of every test before."""

    def left():
        found = (path for top in cgroups(m.cgroup) for path in top.iterdir() if path.is_dir())
        return [str(path) for path in found if path.name not in ("conmon", "build")][:5]

    until(lambda: not left(), f"no cgroup is left; there are {left()}")
    for root in m.runtime_roots():
        expect_equal(must([m.runtime, *root, "list", "--quiet"]), "", "containers that the runtime lists")
