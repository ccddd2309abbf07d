"""What the three managers have in common: options in, a Result out. One class per manager says how it is told."""

import dataclasses
import itertools
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import time

import image

# Seconds after which whatever is waited for counts as failed. TIME_FACTOR is for a machine that is known to be slow.
PATIENCE = 240 * int(os.environ.get("TIME_FACTOR", "1"))

_serial = itertools.count(1)


class Failed(Exception):
    """A test's finding: what was expected and what was seen."""


@dataclasses.dataclass
class Result:
    """What a user sees of a command that has ended."""

    argv: list
    code: int
    out: str
    err: str

    def __str__(self):
        return f"$ {shlex.join(self.argv)}\nexit code {self.code}\nstdout: {self.out!r}\nstderr: {self.err!r}"


def call(argv, stdin=b"", pass_fds=(), env=None):
    """Runs a command to its end with `stdin` (bytes) in a pipe. Returns a Result; Failed where it does not end."""
    argv = [str(word) for word in argv]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Failed(f"$ {shlex.join(argv)}\ndid not end\nstdout: {out!r}\nstderr: {err!r}") from None
    return Result(argv, process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def must(argv, **options):
    """`call`, with any exit code but 0 a failure. Returns standard output, stripped."""
    result = call(argv, **options)
    if result.code != 0:
        raise Failed(str(result))
    return result.out.strip()


def until(condition, what):
    """Waits for `condition()` to be true and returns its value; Failed with `what` where it never is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise Failed(f"never happened: {what}")


def new_name():
    return f"battery{next(_serial)}"


class Daemon:
    """A process of a manager's own, with its log; ended by its pid."""

    def __init__(self, argv, log, env=None):
        self.log = log
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **(env or {})}
            )

    def ready(self, condition):
        """Waits for `condition()`; Failed with the end of the log where the daemon ended instead."""

        def answered():
            if self.process.poll() is not None:
                tail = pathlib.Path(self.log).read_text(errors="replace")[-2000:]
                raise Failed(f"$ {shlex.join(self.process.args)}\nended with {self.process.returncode}:\n{tail}")
            return condition()

        until(answered, f"{self.process.args[0]} answers; its log ends: {pathlib.Path(self.log).read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Manager:
    """A manager whose containers `runtime` (a path) runs, with all it keeps below `home` and its cgroups below `cgroup`."""

    name = ""
    commands = ()  # what has to be on PATH

    def __init__(self, runtime, home, archive, cgroup):
        self.runtime, self.home, self.archive, self.cgroup = runtime, home, archive, cgroup
        os.makedirs(home)

    @classmethod
    def missing(cls):
        return [command for command in cls.commands if shutil.which(command) is None]

    def up(self):
        """Starts what it needs and loads the image."""

    def down(self):
        """Ends what `up` started."""

    def runtime_roots(self):
        """The state directories that it gives the runtime, as the runtime's flags."""
        return [()]


class DockerLike(Manager):
    """Podman and Docker take the same words for the same things."""

    always = ()  # flags of every run
    network = None  # of every run that names none

    def argv(self, *words):
        raise NotImplementedError

    def flags(
        self,
        env=(),
        cwd=None,
        user=None,
        groups=(),
        read_only=False,
        tmpfs=(),
        binds=(),
        cap_add=(),
        cap_drop=(),
        privileged=False,
        seccomp=None,
        hostname=None,
        network=None,
        more=(),
    ):
        flags = list(self.always)
        network = network or self.network
        flags += [f"--network={network}"] if network else []
        flags += [f"--env={pair}" for pair in env]
        flags += [f"--workdir={cwd}"] if cwd else []
        flags += [f"--user={user}"] if user else []
        flags += [f"--group-add={group}" for group in groups]
        flags += ["--read-only"] if read_only else []
        flags += [f"--tmpfs={path}:{options}" for path, options in tmpfs]
        flags += [f"--volume={source}:{path}:{options}" for source, path, options in binds]
        flags += [f"--cap-add={cap}" for cap in cap_add]
        flags += [f"--cap-drop={cap}" for cap in cap_drop]
        flags += ["--privileged"] if privileged else []
        flags += [f"--security-opt=seccomp={seccomp}"] if seccomp and seccomp != "default" else []
        flags += [f"--hostname={hostname}"] if hostname else []
        return flags + list(more)

    def run_argv(self, *command, head=(), **options):
        return self.argv("run", "--rm", *head, *self.flags(**options), image.NAME, *command)

    def run(self, *command, stdin=None, pass_fds=(), **options):
        """A container in the foreground, removed when it ends. Returns its Result."""
        head = () if stdin is None else ("--interactive",)
        return call(self.run_argv(*command, head=head, **options), stdin=stdin or b"", pass_fds=pass_fds)

    def tty_argv(self, *command):
        return self.run_argv(*command, head=("--interactive", "--tty"))

    def exec_argv(self, name, *command, user=None, cwd=None, env=(), tty=False, stdin=False, detach=False):
        flags = [f"--user={user}"] if user else []
        flags += [f"--workdir={cwd}"] if cwd else []
        flags += [f"--env={variable}" for variable in env]
        flags += [flag for flag, on in (("--tty", tty), ("--interactive", stdin or tty), ("--detach", detach)) if on]
        return self.argv("exec", *flags, name, *command)

    def exec(self, name, *command, stdin=None, **options):
        """Another process in a container. Returns its Result."""
        return call(self.exec_argv(name, *command, stdin=stdin is not None, **options), stdin=stdin or b"")

    def start(self, *command, **options):
        """A container in the background. Returns its name."""
        name = new_name()
        must(self.argv("run", "--detach", f"--name={name}", *self.flags(**options), image.NAME, *command))
        return name

    def wait(self, name):
        return int(must(self.argv("wait", name)))

    def logs(self, name):
        return call(self.argv("logs", name)).out

    def kill(self, name, signal_name="KILL"):
        must(self.argv("kill", f"--signal={signal_name}", name))

    def pid(self, name):
        return int(must(self.argv("inspect", "--format={{.State.Pid}}", name)))

    def remove(self, *names):
        must(self.argv("rm", "--force", *names))


class Podman(DockerLike):
    name = "podman"
    commands = ("podman", "conmon")
    network = "none"

    def argv(self, *words, runtime=None, config=None, hooks=None):
        return [
            "env",
            f"CONTAINERS_CONF={config or self.home + '/containers.conf'}",
            f"CONTAINERS_STORAGE_CONF={self.home}/storage.conf",
            "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
            "podman",
            f"--root={self.home}/root",
            f"--runroot={self.home}/runroot",
            f"--tmpdir={self.home}/tmp",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            f"--hooks-dir={hooks or self.home + '/hooks'}",
            *([] if config else [f"--runtime={runtime or self.runtime}"]),
            *words,
        ]

    @property
    def always(self):
        # Podman asks for a limit of its own where it is told of none.
        unlimited = [] if has_controller("pids") else ["--pids-limit=-1"]
        return (f"--cgroup-parent=/{self.cgroup}", *ulimits(), *unlimited)

    def up(self):
        os.mkdir(f"{self.home}/hooks")
        pathlib.Path(self.home, "containers.conf").write_text("")
        pathlib.Path(self.home, "storage.conf").write_text(
            f'[storage]\ndriver = "{storage_driver(self.home)}"\nrunroot = "{self.home}/runroot"\ngraphroot = "{self.home}/root"\n'
        )
        must(self.argv("load", "--input", self.archive))

    def remove(self, *names):
        must(self.argv("rm", "--force", "--time=0", *names))

    def down(self):
        must(self.argv("rm", "--all", "--force", "--time=0"))
        # Its storage bind-mounts itself.
        call(["umount", "--lazy", f"{self.home}/root/overlay"])


class Docker(DockerLike):
    name = "docker"
    commands = ("docker", "dockerd", "containerd")
    userns_remap = None
    daemon = None

    def argv(self, *words):
        return [docker_client(), "--config", f"{self.home}/client", "--host", f"unix://{self.home}/docker.sock", *words]

    def up(self):
        config = {
            "data-root": f"{self.home}/data",
            "exec-root": f"{self.home}/exec",
            "pidfile": f"{self.home}/docker.pid",
            "hosts": [f"unix://{self.home}/docker.sock"],
            "runtimes": {"under-test": {"path": self.runtime}},
            "default-runtime": "under-test",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": f"/{self.cgroup}",
            "storage-driver": {"overlay": "overlay2"}.get(storage_driver(self.home), "vfs"),
            "iptables": False,
            "ip-masq": False,
            "ip-forward": False,
            "bridge": "none",
            "default-ulimits": {
                name: {"Name": name, "Soft": value, "Hard": value} for name, value in ULIMITS.items()
            },
        }
        if self.userns_remap:
            config["userns-remap"] = self.userns_remap
        path = pathlib.Path(self.home, "daemon.json")
        path.write_text(json.dumps(config))
        self.daemon = Daemon(["dockerd", "--config-file", path], f"{self.home}/daemon.log")
        self.daemon.ready(lambda: call(self.argv("version")).code == 0)
        must(self.argv("load", "--input", self.archive))

    def runtime_roots(self):
        return [("--root", path) for path in pathlib.Path(self.home, "exec").glob("*runtime*/**/moby")]

    def down(self):
        if self.daemon is None or self.daemon.process.poll() is not None:
            return
        names = must(self.argv("ps", "--all", "--quiet")).split()
        if names:
            self.remove(*names)
        self.daemon.stop()


class Containerd(Manager):
    """containerd by its own client `ctr`, which stays in the foreground here: its output is the container's log."""

    name = "containerd"
    commands = ("containerd", "ctr")

    def argv(self, *words):
        return ["ctr", "--address", f"{self.home}/containerd.sock", *words]

    def up(self):
        self.running = {}
        config = pathlib.Path(self.home, "config.toml")
        config.write_text(
            f'version = 2\nroot = "{self.home}/root"\nstate = "{self.home}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.home}/containerd.sock"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.home}/opt"\n'
        )
        # ctr forgets --runc-binary where it is told of a user namespace: the shim then takes what is called runc.
        os.mkdir(f"{self.home}/bin")
        os.symlink(self.runtime, f"{self.home}/bin/runc")
        env = {"PATH": f"{self.home}/bin:{os.environ['PATH']}"}
        self.daemon = Daemon(["containerd", "--config", config], f"{self.home}/daemon.log", env)
        self.daemon.ready(lambda: call(self.argv("version")).code == 0)
        self.snapshotter = {"overlay": "overlayfs"}.get(storage_driver(self.home), "native")
        must(self.argv("image", "import", "--snapshotter", self.snapshotter, self.archive))

    def runtime_roots(self):
        return [("--root", "/run/containerd/runc/default")]

    def down(self):
        for name in list(self.running):
            self.remove(name)
        self.daemon.stop()

    def flags(
        self,
        env=(),
        cwd=None,
        read_only=False,
        tmpfs=(),
        binds=(),
        cap_add=(),
        cap_drop=(),
        privileged=False,
        seccomp=None,
        more=(),
    ):
        flags = ["--runc-binary", self.runtime, "--snapshotter", self.snapshotter]
        # Its default, 1024, is asked for too.
        flags += [] if has_controller("cpu") else ["--cpu-shares", "0"]
        flags += [word for pair in env for word in ("--env", pair)]
        flags += ["--cwd", cwd] if cwd else []
        flags += ["--read-only"] if read_only else []
        for path, options in tmpfs:
            flags += ["--mount", f"type=tmpfs,src=tmpfs,dst={path},options={options.replace(',', ':')}"]
        for source, path, options in binds:
            flags += ["--mount", f"type=bind,src={source},dst={path},options=rbind:{options.replace(',', ':')}"]
        flags += [word for cap in cap_add for word in ("--cap-add", f"CAP_{cap}")]
        flags += [word for cap in cap_drop for word in ("--cap-drop", f"CAP_{cap}")]
        flags += ["--privileged"] if privileged else []
        if seccomp == "default":
            flags += ["--seccomp"]
        elif seccomp and seccomp != "unconfined":
            flags += ["--seccomp", "--seccomp-profile", seccomp]
        # A shared bind mount needs a root that passes mounts on; Podman and Docker see to that themselves.
        flags += ["--rootfs-propagation", "shared"] if any("shared" in options for _, _, options in binds) else []
        return flags + list(more)

    def run_argv(self, *command, head=("--rm",), name=None, **options):
        name = name or new_name()
        cgroup = ("--cgroup", f"/{self.cgroup}/{name}")
        return self.argv("run", *head, *cgroup, *self.flags(**options), image.NAME, name, *command)

    def run(self, *command, stdin=None, **options):
        return call(self.run_argv(*command, **options), stdin=stdin or b"")

    def run_config(self, edit, *command):
        """What `ctr run` has no flag for: its default specification, changed by `edit`, in a plain directory."""
        bundle = pathlib.Path(self.home, new_name())
        bundle.mkdir()
        image.make_tree(bundle / "rootfs")
        spec = json.loads(must(["ctr", "oci", "spec"]))
        spec["root"] = {"path": str(bundle / "rootfs")}
        spec["linux"]["cgroupsPath"] = f"/{self.cgroup}/{bundle.name}"
        spec["process"] |= {"args": list(command), "env": [f"PATH={image.PATH}"]}
        edit(spec)
        (bundle / "config.json").write_text(json.dumps(spec))
        return call(
            self.argv("run", "--rm", "--runc-binary", self.runtime, "--config", bundle / "config.json", bundle.name)
        )

    def tty_argv(self, *command):
        return self.run_argv(*command, head=("--rm", "--tty"))

    def exec_argv(self, name, *command, user=None, cwd=None, tty=False, detach=False):
        flags = ["--exec-id", new_name()]
        flags += ["--user", user] if user else []
        flags += ["--cwd", cwd] if cwd else []
        flags += [flag for flag, on in (("--tty", tty), ("--detach", detach)) if on]
        return self.argv("task", "exec", *flags, name, *command)

    def exec(self, name, *command, stdin=None, **options):
        """Another process in a container. Returns its Result. Where nothing came it is asked again: ctr drops the output of a
        process that ends before ctr has opened its fifos."""
        for _ in range(5):
            result = call(self.exec_argv(name, *command, **options), stdin=stdin or b"")
            if result.out or options.get("detach"):
                break
        return result

    def start(self, *command, **options):
        name = new_name()
        log = open(f"{self.home}/{name}.log", "w+b")
        self.running[name] = subprocess.Popen(
            self.run_argv(*command, head=(), name=name, **options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        until(lambda: self.pid(name) or self.running[name].poll() is not None, f"ctr starts {name}")
        if self.running[name].poll():
            del self.running[name]
            raise Failed(f"{name} does not start: {self.logs(name)}")
        return name

    def wait(self, name):
        try:
            return self.running[name].wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} did not end; its log: {self.logs(name)!r}") from None

    def logs(self, name):
        return pathlib.Path(self.home, f"{name}.log").read_text(errors="replace")

    def kill(self, name, signal_name="KILL"):
        must(self.argv("task", "kill", "--signal", f"SIG{signal_name}", name))

    def pid(self, name):
        for line in call(self.argv("task", "ls")).out.splitlines()[1:]:
            task, pid, status = line.split()
            if task == name and status == "RUNNING":
                return int(pid)
        return 0

    def remove(self, *names):
        for name in names:
            if self.running[name].poll() is None:
                self.kill(name)
            self.wait(name)
            must(self.argv("container", "rm", name))
            del self.running[name]


ULIMITS = {"nofile": 1024, "nproc": 4096}


def ulimits():
    """Within what any root may set, also one without CAP_SYS_RESOURCE."""
    return [f"--ulimit={name}={value}:{value}" for name, value in ULIMITS.items()]


def has_controller(name):
    """Whether a cgroup hierarchy, of either version, has the controller."""
    unified = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    return os.path.isdir(f"/sys/fs/cgroup/{name}") or (unified.exists() and name in unified.read_text().split())


def cgroups(name):
    """The directories of the cgroups of that name, in every hierarchy."""
    # os.walk passes over what others remove meanwhile.
    return [pathlib.Path(path, name) for path, folders, _ in os.walk("/sys/fs/cgroup") if name in folders]


def remove_cgroups(name):
    """Removes the cgroups of that name with those below them, in every hierarchy; Failed where one is in use."""
    for top in cgroups(name):
        for path, _, _ in os.walk(top, topdown=False):
            until(lambda: removed(path), f"cgroup {path} can be removed")


def removed(cgroup):
    try:
        os.rmdir(cgroup)
    except FileNotFoundError:
        pass
    except OSError:  # EBUSY: a process in it is about to end
        return False
    return True


def storage_driver(home):
    """`overlay` where the kernel can mount one below `home`, else `vfs`."""
    trial = pathlib.Path(home, "overlay-trial")
    for folder in ("lower", "upper", "work", "merged"):
        (trial / folder).mkdir(parents=True, exist_ok=True)
    options = ",".join(f"{kind}dir={trial}/{kind}" for kind in ("lower", "upper", "work"))
    if call(["mount", "-t", "overlay", "-o", options, "overlay", trial / "merged"]).code != 0:
        return "vfs"
    must(["umount", trial / "merged"])
    return "overlay"


def docker_client():
    """The client that came with the daemon, else the first on PATH."""
    beside = pathlib.Path(shutil.which("dockerd")).parent.parent / "bin/docker"
    return str(beside) if beside.exists() else "docker"


ALL = {kind.name: kind for kind in (Podman, Containerd, Docker)}
