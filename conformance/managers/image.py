"""The one image of the battery: busybox and two users, as a Docker archive, which all three managers load."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

NAME = "localhost/battery:latest"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def busybox():
    """The machine's static busybox. Returns its path; raises FileNotFoundError where there is none."""
    path = shutil.which("busybox")
    if path is None:
        raise FileNotFoundError("busybox is not installed (Debian: busybox-static)")
    return path


def make_tree(root):
    """Makes the image's root file system in the directory `root`, which must not exist."""
    for folder in ("bin", "dev", "etc", "home/app", "proc", "root", "sys", "usr/bin"):
        os.makedirs(f"{root}/{folder}")
    os.mkdir(f"{root}/tmp")
    os.chmod(f"{root}/tmp", 0o1777)
    os.chown(f"{root}/home/app", 1000, 1000)
    shutil.copy(busybox(), f"{root}/bin/busybox")
    os.chmod(f"{root}/bin/busybox", 0o755)
    for applet in subprocess.check_output([busybox(), "--list"], text=True).split():
        if applet != "busybox":
            os.symlink("busybox", f"{root}/bin/{applet}")
    with open(f"{root}/etc/passwd", "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n")
    with open(f"{root}/etc/group", "w") as file:
        file.write("root:x:0:\napp:x:1000:\nextra:x:2000:\n")


def save(root, archive):
    """Writes the tree `root` as a Docker archive (image specification 1.2) to the file `archive`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(root, arcname=".")
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
        "history": [{"created_by": "battery"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, mode="w") as tar:
        for name, content in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
