"""The host's side of hack/vm: starts QEMU on an image, has the guest's agent run a command, passes on what it says.

    machine.py IMAGE [OPTION...] COMMAND...      options: see hack/vm
"""

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
STARTED = time.monotonic()
BOOT_TIMEOUT = 300  # seconds
FAILED = 125

LSM = {name: f"lsm=landlock,lockdown,yama,{name},bpf" for name in ("apparmor", "selinux")} | {"none": "lsm=landlock,lockdown,yama,bpf"}
# Not for the container's sake but for the boot's: mitigations and watchdogs cost much under emulation, and RCU's
# grace periods are waited for in every mount and namespace.
PARAMETERS = (
    "console=ttyS0 quiet rw root=/dev/vda panic=-1 oops=panic audit=0 mitigations=off nowatchdog tsc=reliable "
    "no_timer_check random.trust_cpu=on rcupdate.rcu_expedited=1 raid=noautodetect "
    "systemd.show_status=0 systemd.default_timeout_start_sec=300"
)


class VmError(Exception):
    """Why there is no machine."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="hack/vm", usage="hack/vm [OPTION...] COMMAND [ARGUMENT...] (hack/vm --help says more)")
    add = parser.add_argument
    add("-k", "--kernel", default="6.12")
    add("-f", "--file", action="append", default=[])
    add("-s", "--share", default=CHECKOUT)
    add("-w", "--writable", action="store_true")
    add("-t", "--timeout", type=int, default=1800)
    add("-m", "--memory", type=int, default=3072)
    add("-j", "--cpus", type=int, default=2)
    add("--lsm", choices=LSM, default="apparmor")
    add("-a", "--append", default="")
    add("--cold", action="store_true")
    add("-v", "--verbose", action="store_true")
    add("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if not options.command:
        parser.error("no command")
    if not os.path.isdir(options.share):
        parser.error(f"--share: {options.share} is no directory")
    for file in options.file:
        if not os.path.isfile(file):
            parser.error(f"--file: {file} is no file")
    return options


class Image:
    """A directory that hack/vm.d/image has made."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.root = self.path / "root.img"
        # Held as long as this process lives, so that nobody takes the image for unused.
        self.lock = open(self.path / "lock")
        fcntl.flock(self.lock, fcntl.LOCK_SH)

    def kernel(self, prefix):
        """The directory of the newest kernel whose version begins with the numbers of `prefix`."""
        numbers = prefix.split(".")
        found = {v.name: re.findall(r"\d+", v.name) for v in (self.path / "kernels").iterdir()}
        fitting = [name for name, have in found.items() if have[: len(numbers)] == numbers]
        if not fitting:
            raise VmError(f"no kernel {prefix}: the image has {', '.join(sorted(found))}")
        return self.path / "kernels" / max(fitting, key=lambda name: [int(n) for n in found[name]])

    def qemu(self, program):
        """How one of QEMU's programs is started: the host's, or that of the image's tree by the tree's own loader."""
        tree = self.path / "qemu"
        if not tree.exists():
            return [program]
        lib = tree / "usr/lib/x86_64-linux-gnu"
        start = [tree / "usr/lib64/ld-linux-x86-64.so.2", "--library-path", f"{lib}:{lib}/pulseaudio", tree / "usr/bin" / program]
        return start + (["-L", tree / "usr/share/qemu", "-L", tree / "usr/share/seabios"] if program.startswith("qemu-system") else [])


def accelerator():
    """KVM where the processor virtualises in hardware and this process may use it. Elsewhere emulation: what offers
    /dev/kvm without the hardware does not run an ordinary kernel."""
    with open("/proc/cpuinfo") as file:
        hardware = re.search(r"^flags\s*:.*\b(vmx|svm)\b", file.read(), re.MULTILINE)
    if hardware and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"]


class Machine:
    """A running QEMU. Its disk is `disk` (a path and its format) below an overlay that is thrown away, or written to
    itself where it is to be saved; it resumes `state` where one is given. Use it as a context."""

    def __init__(self, options, image, disk, disk_format, state=None, keep_disk=False):
        self.verbose = options.verbose
        self.what = options, image, disk, disk_format, state, keep_disk
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="aril-vm.", dir="/var/tmp"))
        self.process = None

    def start(self, options, image, disk, disk_format, state, keep_disk):
        self.call = self.directory / "call"
        (self.call / "files").mkdir(parents=True)
        listeners = {name: self.listen(name) for name in ("control", "output")}
        kernel = image.kernel(options.kernel)
        share = f"local,security_model=none,multidevs=remap,id=share,path={os.path.realpath(options.share)}"
        argv = [
            *image.qemu("qemu-system-x86_64"), *accelerator(), "-machine", "q35", "-smp", str(options.cpus), "-m", str(options.memory),
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-kernel", kernel / "vmlinuz", "-initrd", kernel / "initrd", "-append", f"{PARAMETERS} {LSM[options.lsm]} {options.append}",
            "-serial", f"file:{self.directory}/console",
            "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off",
            "-drive", f"id=root,if=none,file={disk},format={disk_format},cache=unsafe,snapshot={'off' if keep_disk else 'on'}",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
            "-fsdev", f"local,security_model=none,multidevs=remap,id=call,path={self.call}",
            "-device", "virtio-9p-pci,fsdev=call,mount_tag=call",
            "-fsdev", f"{share},readonly={'off' if options.writable else 'on'}", "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
        ]
        for name in listeners:
            argv += ["-chardev", f"socket,id={name},path={self.directory}/{name}", "-device", f"virtserialport,chardev={name},name=vm.{name}"]
        if state:
            argv += ["-incoming", f"file:{state}"]
        self.errors = open(self.directory / "errors", "w+")
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self.errors,
            stderr=self.errors,
            env={**os.environ, "TMPDIR": str(self.directory), "QEMU_MODULE_DIR": f"{image.path}/qemu/usr/lib/x86_64-linux-gnu/qemu"},
            start_new_session=True,  # an interrupt is for this process to handle
            preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG: no machine outlives its call
        )
        self.control, self.output = (self.accept(listeners[name]) for name in ("control", "output"))
        self.received = b""

    def __enter__(self):
        try:
            self.start(*self.what)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if self.process:
            self.process.kill()
            self.process.wait()
        if isinstance(value, (VmError, OSError)):
            for name in ("console", "errors"):
                path = self.directory / name
                said = path.read_text(errors="replace")[-4000:].strip() if path.exists() else ""
                if said:
                    print(f"vm: {name}: {said}", file=sys.stderr)
        shutil.rmtree(self.directory, ignore_errors=True)

    def listen(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.directory / name))
        listener.listen(1)
        return listener

    def accept(self, listener):
        listener.settimeout(BOOT_TIMEOUT)
        try:
            return listener.accept()[0]
        except TimeoutError:
            raise VmError("QEMU does not start") from None
        finally:
            listener.close()

    def say(self, what):
        if self.verbose:
            print(f"[vm {time.monotonic() - STARTED:6.2f} s] {what}", file=sys.stderr)

    def line(self):
        """The next line that the agent has sent, or None while there is none."""
        if b"\n" not in self.received and select.select([self.control], [], [], 0)[0]:
            self.received += self.control.recv(4096)
        head, newline, tail = self.received.partition(b"\n")
        if not newline:
            return None
        self.received = tail
        return head.decode()

    def booted(self):
        """Waits until the agent is ready."""
        end = time.monotonic() + BOOT_TIMEOUT
        while self.line() != "ready":
            if self.process.poll() is not None or time.monotonic() > end:
                raise VmError("the machine does not boot")
            select.select([self.control], [], [], 0.1)
        self.say("booted")

    def save(self, state):
        """Writes the machine's state to the file and ends it."""
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.connect(str(self.directory / "qmp"))
            stream = qmp.makefile("rw")
            stream.readline()  # the greeting

            def ask(command, **arguments):
                stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "error" in answer:
                        raise VmError(f"{command}: {answer['error']['desc']}")
                    if "return" in answer:
                        return answer["return"]

            ask("qmp_capabilities")
            ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
            ask("migrate", uri=f"file:{state}")
            while (status := ask("query-migrate").get("status")) != "completed":
                if status == "failed":
                    raise VmError("the machine's state cannot be saved")
                time.sleep(0.05)
            ask("quit")
        self.process.wait()
        self.say("saved")

    def run(self, options):
        """Has the agent run the command; writes what it says to standard output; its status."""
        for file in options.file:
            shutil.copy2(file, self.call / "files")
        (self.call / "command").write_text(shlex.join(options.command) + "\n")
        share, here = os.path.realpath(options.share), os.getcwd()
        words = {
            "SHARE": share,
            "ACCESS": "rw" if options.writable else "ro",
            "DIRECTORY": here if os.path.commonpath([share, here]) == share else share,
            "TIMEOUT": str(options.timeout),
        }
        (self.call / "environment").write_text("".join(f"{name}={shlex.quote(word)}\n" for name, word in words.items()))
        self.control.sendall(b"go %d\n" % time.time())
        end = time.monotonic() + options.timeout + 60
        status = None
        while True:
            # The two ports are not ordered: once the status is known, what is still on its way gets a moment.
            ready = select.select([self.output, self.control], [], [], 0.5 if status is None else 0.25)[0]
            if self.output in ready:
                data = self.output.recv(1 << 16)
                while data:
                    data = data[os.write(sys.stdout.fileno(), data) :]
            elif status is not None:
                return status
            if line := self.line():
                status = int(line.removeprefix("exit "))
                self.say(f"command ended with {status}")
            if self.process.poll() is not None or time.monotonic() > end:
                raise VmError("the machine died" if self.process.poll() is not None else "the machine hangs")


def saved(options, image):
    """The directory of the booted machine that was saved for these options; saves one where there is none."""
    kernel = image.kernel(options.kernel)
    recipe = [pathlib.Path(__file__).read_text(), kernel.name, options.memory, options.cpus, options.lsm, options.append, accelerator()]
    directory = image.path / "saved" / hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
    directory.parent.mkdir(exist_ok=True)
    with open(image.path / "saved" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two may want it at once
        if directory.exists():
            return directory
        new = pathlib.Path(tempfile.mkdtemp(dir=directory.parent))
        try:
            disk = new / "root.qcow2"
            subprocess.run([*image.qemu("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.root, disk], check=True)
            with Machine(options, image, disk, "qcow2", keep_disk=True) as machine:
                machine.booted()
                machine.save(new / "state")
            new.rename(directory)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return directory


def main():
    options = parse(sys.argv[2:])
    image = Image(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(FAILED))
    try:
        if options.cold:
            with Machine(options, image, image.root, "raw") as machine:
                machine.booted()
                return machine.run(options)
        directory = saved(options, image)
        with Machine(options, image, directory / "root.qcow2", "qcow2", directory / "state") as machine:
            return machine.run(options)
    except (VmError, OSError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


sys.exit(main())
