"""The images that the suites ask for, made from this machine's busybox, and a registry on loopback that serves them. Nothing is fetched.

critest and Kubernetes name images of public registries; each manager is told that 127.0.0.1:5000 is their mirror.
"""

import gzip
import hashlib
import http.server
import io
import json
import pathlib
import platform
import subprocess
import tarfile
import tempfile

PORT = 5000
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
E2E, CRI = "e2e-test-images/", "k8s-staging-cri-tools/"
PAUSE_IMAGE, BUSYBOX_IMAGE = "registry.k8s.io/pause:3.10.1", "registry.k8s.io/e2e-test-images/busybox:1.29-2"

USERS = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
default-user:x:1000:1000::/home/default-user:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUPS = """root:x:0:
daemon:x:1:
www-data:x:33:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
nogroup:x:65534:
"""
FOLDERS = "bin dev etc home proc root run sys tmp usr usr/bin usr/sbin sbin var var/run var/lib var/log www".split()
# What Debian's busybox lacks.
SCRIPTS = {
    "bin/ipcs": "cat /proc/sysvipc/shm",
    "bin/pgrep": 'cd /proc; for p in [0-9]*; do grep -qs -- "$1" $p/comm && echo $p; done; true',
}
# critest looks for this pid file, this name of a process and of its program, and the word httpd in the log.
START = "echo $$ > /var/run/nginx.pid\necho httpd starts\nexec -a 'nginx: master process' /bin/nginx {port}"

EFFECTIVE = r"""#include <stdio.h>
#include <unistd.h>
int main(void) { printf("Effective uid: %d\n", geteuid()); return 0; }"""

PAUSE = r"""#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int signal) { exit(0); }
static void reap(int signal) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }"""

# One page over HTTP, by IPv6 and IPv4 where there is IPv6.
SERVE = r"""#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static int listening(int family, const void *address, socklen_t size) {
  int on = 1, s = socket(family, SOCK_STREAM, 0);
  if (s < 0) return -1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return bind(s, address, size) || listen(s, 64) ? (close(s), -1) : s;
}
static void end(int signal) { _exit(0); }
int main(int argc, char **argv) {
  int port = atoi(argv[1]);
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  int s = listening(AF_INET6, &six, sizeof six);
  if (s < 0) s = listening(AF_INET, &four, sizeof four);
  if (s < 0) { perror("listen"); return 1; }
  signal(SIGCHLD, SIG_IGN);
  signal(SIGTERM, end); // it is the first process, which no signal ends by itself; CRI-O waits minutes for it
  for (;;) {
    int c = accept(s, 0, 0);
    if (c < 0) continue;
    if (fork()) { close(c); continue; }
    char request[4096], page[4096], answer[8192];
    if (read(c, request, sizeof request) <= 0) return 0;
    int file = open("/www/index.html", O_RDONLY), n = file < 0 ? 0 : read(file, page, sizeof page);
    n = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%.*s", n, n, page);
    return write(c, answer, n) != n;
  }
}"""


def compiled(text):
    with tempfile.TemporaryDirectory() as work:
        pathlib.Path(work, "a.c").write_text(text)
        subprocess.run(["cc", "-Os", "-static", "-s", "-o", f"{work}/a", f"{work}/a.c"], check=True)
        return pathlib.Path(work, "a").read_bytes()


def busybox(busybox_path):
    """The files of a small system: path to (mode, content); no content is a directory, text the path that a hard link leads to."""
    files = {folder: (0o1777 if folder == "tmp" else 0o755, None) for folder in FOLDERS}
    files["bin/busybox"] = (0o755, pathlib.Path(busybox_path).read_bytes())
    # Hard links, since one test masks one applet.
    for applet in subprocess.check_output([busybox_path, "--list"], text=True).split():
        files.setdefault(f"bin/{applet}", (0o755, "bin/busybox"))
    for path, script in SCRIPTS.items():
        files[path] = (0o755, f"#!/bin/sh\n{script}\n".encode())
    files["etc/passwd"], files["etc/group"] = (0o644, USERS.encode()), (0o644, GROUPS.encode())
    files["www/index.html"] = (0o644, b"<html><body><h1>It works!</h1></body></html>\n")
    return files


def layer(files):
    """The layer of these files: as a tar, and packed."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, (mode, content) in files.items():
            info = tarfile.TarInfo(path)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.LNKTYPE, content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return raw.getvalue(), gzip.compress(raw.getvalue(), mtime=0)


def catalogue(busybox_path):
    """Every image: its repository, its tags, what it adds to busybox (or its files, where it has no busybox), its configuration."""
    base = busybox(busybox_path)
    serve = compiled(SERVE)

    def web(port):
        return {**base, "bin/nginx": (0o755, serve), "start": (0o755, f"#!/bin/sh\n{START.format(port=port)}\n".encode())}

    yield "library/busybox", ["latest"], base, {"Cmd": ["sh"]}
    yield E2E + "busybox", ["1.29-2"], base, {"Cmd": ["sh"]}
    yield E2E + "nginx", ["1.14-2"], web(80), {"Cmd": ["/start"]}
    yield E2E + "httpd", ["2.4.39-4"], web(80), {"Cmd": ["/start"]}
    yield CRI + "hostnet-nginx-amd64", ["latest"], web(12003), {"Cmd": ["/start"]}
    yield E2E + "nonewprivs", ["1.3"], {**base, "nnp": (0o4755, compiled(EFFECTIVE))}, {"Entrypoint": ["/nnp"]}
    pause = compiled(PAUSE)
    for tag in ("3.9", "3.10", "3.10.1", "3.10.2"):
        files = {"pause": (0o755, pause), "version": (0o644, tag.encode())}
        yield "pause", [tag], files, {"Entrypoint": ["/pause"], "User": "65535:65535"}
    for name, user in {"uid": "1002", "username": "www-data", "uid-group": "1003:50000", "username-group": "www-data:100"}.items():
        yield CRI + f"test-image-user-{name}", ["latest"], base, {"User": user, "Cmd": ["sh"]}
    yield CRI + "test-image-predefined-group", ["latest"], base, {"User": "1000", "Cmd": ["sh"]}
    named = {"latest": ["latest"], "tag": ["test", "all"], "digest": ["test"], "1": ["latest"], "2": ["latest"], "3": ["latest"], "tags": ["1", "2", "3"]}
    for name, tags in named.items():
        yield CRI + f"test-image-{name}", tags, {**base, "name": (0o644, name.encode())}, {"Cmd": ["sh"]}


class Images:
    """What the registry has."""

    def __init__(self, busybox_path):
        self.blobs, self.tags = {}, {}
        before, raw, small = None, b"", b""
        for repository, tags, files, config in catalogue(busybox_path):
            if files != before:
                before, (raw, small) = files, layer(files)
            content = {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": {"Env": [PATH], **config},
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest()]},
            }
            kind = "application/vnd.oci.image."
            manifest = {
                "schemaVersion": 2,
                "mediaType": kind + "manifest.v1+json",
                "config": {"mediaType": kind + "config.v1+json", **self.put(json.dumps(content).encode())},
                "layers": [{"mediaType": kind + "layer.v1.tar+gzip", **self.put(small)}],
            }
            digest = self.put(json.dumps(manifest).encode())["digest"]
            self.tags.update({(repository, tag): digest for tag in tags})

    def put(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"digest": digest, "size": len(data)}

    def find(self, path):
        """What the distribution specification's path names: its bytes, its media type and its digest; None where there is none."""
        for kind in ("manifests", "blobs"):
            name, found, reference = path.partition(f"/{kind}/")
            digest = self.tags.get((name, reference), reference)
            if found and digest in self.blobs:
                data = self.blobs[digest]
                return data, json.loads(data)["mediaType"] if kind == "manifests" else "application/octet-stream", digest
        return None


def serve(images):
    """Serves them until this process ends."""

    class Registry(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = self.path.split("?")[0].strip("/")
            data, kind, digest = (b"{}", "application/json", "") if path == "v2" else images.find(path.removeprefix("v2/")) or (b"", "", "")
            self.send_response(200 if kind else 404)
            for name, value in {"Content-Type": kind, "Docker-Content-Digest": digest}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that hangs up early is no news
            pass

    Server(("127.0.0.1", PORT), Registry).serve_forever()
