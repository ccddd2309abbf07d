"""Builds the callers from their pinned Go modules, each once for each change of its pins, of the compiler or of these flags."""

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

MODULES = pathlib.Path(__file__).resolve().parent / "modules"
GO = (1, 26)


@dataclasses.dataclass(frozen=True)
class Caller:
    """A module of `modules/`, whose `tool` lines name its programs."""

    tags: str = ""
    cgo: bool = False
    test: str = ""  # a test binary beside them: name=package
    c: tuple = ()  # a C program beside them: its name, the module, the directory of its sources
    names: tuple = ()  # what a program is called where its package has another name


CALLERS = {
    "critest": Caller(test="critest=sigs.k8s.io/cri-tools/cmd/critest"),
    "containerd": Caller(tags="no_btrfs"),
    "crio": Caller(tags="containers_image_openpgp exclude_graphdriver_btrfs seccomp", cgo=True, c=("pinns", "github.com/cri-o/cri-o", "pinns/src")),
    "etcd": Caller(names=(("server", "etcd"),)),
    "kubernetes": Caller(),
    "podman": Caller(tags="containers_image_openpgp exclude_graphdriver_btrfs seccomp", cgo=True),
}


def go():
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def unfit():
    """Why nothing can be built on this machine; None where it can."""
    if go() is None:
        return "the callers are built by Go 1.26 or later, and there is none"
    version = subprocess.run([go(), "env", "GOVERSION"], cwd="/", stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found and tuple(map(int, found.groups())) < GO:
        return f"the callers are built by Go 1.26 or later, and this is {version.strip()}"
    return None


def build(name, target):
    """Builds one caller where it has to be. Returns the directory of its programs."""
    caller, source, out = CALLERS[name], MODULES / name, target / name
    version = subprocess.run([go(), "version"], cwd="/", stdout=subprocess.PIPE, check=True).stdout
    pins = b"".join((source / file).read_bytes() for file in ("go.mod", "go.sum"))
    recipe = hashlib.sha256(version + pins + repr(caller).encode()).hexdigest()
    stamp = out / ".stamp"
    if stamp.exists() and stamp.read_text() == recipe:
        return out
    print(f"# building {name}", flush=True)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    run = lambda *words: subprocess.run(words, cwd=source, check=True, env={**os.environ, "CGO_ENABLED": str(int(caller.cgo))})  # noqa: E731
    flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w", f"-tags={caller.tags}"]
    run(go(), "build", *flags, "-o", f"{out}/", "tool")
    for before, after in caller.names:
        (out / before).rename(out / after)
    if caller.test:
        program, package = caller.test.split("=")
        run(go(), "test", "-c", *flags, "-o", out / program, package)
    if caller.c:
        program, module, folder = caller.c
        found = subprocess.run([go(), "list", "-m", "-f", "{{.Dir}}", module], cwd=source, stdout=subprocess.PIPE, text=True, check=True)
        run("cc", "-O2", "-o", out / program, *pathlib.Path(found.stdout.strip(), folder).glob("*.c"))
    stamp.write_text(recipe)
    return out
