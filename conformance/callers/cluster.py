"""A Kubernetes cluster of one node, and what its users see of the runtime.

For tests alone: one fixed token, everything allowed, no certificate checked, all of it in a network namespace of its own.
"""

import json
import os
import pathlib
import re
import traceback

import images
import node
from manager import Daemon, Failed, call, must, until

DIR = pathlib.Path("/run/kube")
CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "https://{address}:6443", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: token}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
KUBELET = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
containerRuntimeEndpoint: {socket}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
seccompDefault: true
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
enforceNodeAllocatable: []
evictionHard: {{memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%"}}
resolvConf: ""
clusterDNS: [10.96.0.10]
"""


TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Cluster:
    """The cluster, from `with` to its end; `bin` finds a caller's directory by its name."""

    def __init__(self, machine, bin):
        self.machine, self.bin, self.daemons = machine, bin, []

    def __enter__(self):
        DIR.mkdir()
        key, config, ip = DIR / "sa.key", DIR / "config", node.ADDRESS
        must(["openssl", "genrsa", "-out", key, "2048"])
        node.write(DIR / "tokens.csv", "token,admin,admin,system:masters\n")
        node.write(config, CONFIG.format(address=ip))
        node.write(DIR / "kubelet.yaml", KUBELET.format(socket=node.SOCKET))
        os.environ.update(KUBECONFIG=str(config), PATH=":".join([str(self.bin("kubernetes")), str(self.bin("etcd")), os.environ["PATH"]]))
        etcd = "http://127.0.0.1:2379"
        self.begin("etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
                   "--listen-peer-urls=http://127.0.0.1:2380")  # fmt: skip
        server = self.begin(
            "kube-apiserver", f"--etcd-servers={etcd}", f"--bind-address={ip}", f"--advertise-address={ip}", f"--cert-dir={DIR}",
            "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://cluster", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", f"--token-auth-file={DIR}/tokens.csv", "--authorization-mode=AlwaysAllow",
            "--disable-admission-plugins=ServiceAccount", "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged",
        )  # fmt: skip
        server.ready(lambda: call(["kubectl", "get", "--raw", "/readyz"]).code == 0)
        self.begin("kube-controller-manager", f"--kubeconfig={config}", f"--service-account-private-key-file={key}",
                   f"--root-ca-file={DIR}/apiserver.crt", "--leader-elect=false")  # fmt: skip
        self.begin("kube-scheduler", f"--kubeconfig={config}", "--leader-elect=false")
        kubelet = self.begin("kubelet", f"--config={DIR}/kubelet.yaml", f"--kubeconfig={config}", "--root-dir=/var/lib/kubelet",
                             "--hostname-override=node", f"--node-ip={ip}", "-v=2")  # fmt: skip
        kubelet.ready(lambda: " Ready " in call(["kubectl", "get", "node", "node"]).out)
        must(["crictl", "pull", images.BUSYBOX_IMAGE])
        # The class, and a pod of it that is the first test's.
        must(["kubectl", "apply", "-f", "-"], stdin=node.documented("Kubernetes", "apiVersion: node.k8s.io").encode())
        return self

    def begin(self, *argv):
        self.daemons.append(Daemon(argv, f"{self.machine.keep}/{argv[0]}.log"))
        return self.daemons[-1]

    def __exit__(self, *_):
        for daemon in reversed(self.daemons):
            daemon.stop()

    def test(self, focus):
        """Runs the tests whose name matches the regular expression `focus`, or all. Returns (name, outcome, message) of each."""
        for function in TESTS:
            name = function.__name__.replace("_", " ")
            if focus and not re.search(focus, name):
                continue
            try:
                function()
                yield name, "passed", ""
            except Failed as failure:
                yield name, "failed", f"{failure}\n{call(['kubectl', 'get', 'events', '--sort-by=.lastTimestamp']).out[-3000:]}"
            except Exception:  # a test that breaks has failed; the others still count
                yield name, "failed", traceback.format_exc()
            finally:
                call(["kubectl", "delete", "deployments,jobs,pods", "--all", "--now", "--wait"])


# What tests say


def apply(thing):
    must(["kubectl", "apply", "-f", "-"], stdin=json.dumps(thing).encode())


def expect(condition, *seen):
    if not condition:
        raise Failed(" ".join(map(str, seen)))


def same(seen, wanted):
    expect(seen == wanted, f"{seen!r} is not {wanted!r}")


def sh(script, **more):
    """A container that runs a shell script."""
    return {"name": "main", "image": images.BUSYBOX_IMAGE, "command": ["sh", "-c", script], **more}


def pod(*containers, name="pod", **spec):
    """Makes a pod of these containers."""
    template = {"runtimeClassName": "aril", "terminationGracePeriodSeconds": 1, "restartPolicy": "Never", **spec, "containers": list(containers)}
    apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template})


def status(name="pod"):
    return json.loads(must(["kubectl", "get", "pod", name, "-o", "json"]))["status"]


def ready(name="pod"):
    must(["kubectl", "wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}"])


def ended(name="pod"):
    """Waits for a pod's end. Returns the end of its first container."""
    done = until(lambda: status(name).get("phase") in ("Succeeded", "Failed") and status(name), f"{name} ends: {status(name)}")
    return done["containerStatuses"][0]["state"]["terminated"]


def output(*containers, **spec):
    """What a pod writes until it ends well."""
    pod(*containers, **spec)
    end = ended()
    text = must(["kubectl", "logs", "pod", "-c", containers[0]["name"]])
    expect(end["exitCode"] == 0, end, text)
    return text


def log_until_deleted(first):
    """The words of a pod's log to its end, which comes by deleting it once the word `first` is there."""
    log = pathlib.Path("/run/followed.log")
    log.unlink(missing_ok=True)
    until(lambda: first in call(["kubectl", "logs", "pod"]).out, f"the pod says {first}")
    following = Daemon(["kubectl", "logs", "-f", "pod"], log)
    until(lambda: first in log.read_text(), "the log is followed")
    must(["kubectl", "delete", "pod", "pod", "--wait"])
    following.process.wait()
    return log.read_text().split()


def kexec(*command, name="pod", container="main", flags=()):
    return call(["kubectl", "exec", name, "-c", container, *flags, "--", *command])


# The tests


@test
def the_documented_pod():
    same(ended("hello")["exitCode"], 0)
    same(must(["kubectl", "logs", "hello"]), "hello")


@test
def a_deployment_of_ten_pods_and_its_end():
    labels = {"app": "ten"}
    template = {"metadata": {"labels": labels}, "spec": {"runtimeClassName": "aril", "terminationGracePeriodSeconds": 1, "containers": [sh("while :; do sleep 1; done")]}}
    spec = {"replicas": 10, "selector": {"matchLabels": labels}, "template": template}
    apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ten"}, "spec": spec})
    must(["kubectl", "rollout", "status", "deployment/ten", "--timeout=60s"])
    must(["kubectl", "set", "env", "deployment/ten", "ROUND=2"])
    must(["kubectl", "rollout", "status", "deployment/ten", "--timeout=120s"])
    must(["kubectl", "scale", "deployment/ten", "--replicas=0"])
    until(lambda: "No resources" in call(["kubectl", "get", "pods"]).err, "the pods are gone")


@test
def logs_of_both_streams():
    same(sorted(output(sh("echo out; echo err >&2; echo more")).split()), ["err", "more", "out"])


@test
def exit_codes():
    for code in (0, 1, 42, 127, 255):
        pod(sh(f"exit {code}"), name=f"exit{code}")
    for code in (0, 1, 42, 127, 255):
        same(ended(f"exit{code}")["exitCode"], code)


@test
def a_program_that_is_not_there():
    pod({"name": "main", "image": images.BUSYBOX_IMAGE, "command": ["/no/such/program"]})

    def told():
        # CRI-O is told by `create`, containerd by `start`, which begins the program.
        state = status().get("containerStatuses", [{"state": {}}])[0]["state"]
        return {one.get("reason"): one.get("message", "") for one in state.values() if one.get("reason") in ("StartError", "CreateContainerError")}

    expect("/no/such/program" in " ".join(until(told, "it cannot be started").values()), told())


@test
def a_limit_of_memory_kills():
    pod(sh("x=0123456789; while :; do x=$x$x; done", resources={"limits": {"memory": "32Mi"}}))
    end = ended()
    same((end["exitCode"], end["reason"]), (137, "OOMKilled"))


@test
def limits_reach_the_cgroup():
    script = """cd /sys/fs/cgroup
    if [ -e cgroup.controllers ]; then cat memory.max cpu.max; else cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; fi"""
    limits = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    same(output(sh(script, resources=limits)).split(), ["67108864", "50000", "100000"])


@test
def a_job_is_done():
    template = {"spec": {"runtimeClassName": "aril", "restartPolicy": "Never", "containers": [sh("exit 0")]}}
    apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"completions": 4, "parallelism": 2, "template": template}})
    must(["kubectl", "wait", "--for=condition=Complete", "--timeout=60s", "job/job"])


@test
def a_container_that_fails_is_restarted():
    pod(sh("sleep 0.2; exit 3"), restartPolicy="Always")
    until(lambda: status().get("containerStatuses", [{}])[0].get("restartCount", 0) >= 2, "it is restarted")


@test
def init_containers_and_a_sidecar():
    volume = {"name": "shared", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    first = {**sh("echo first > /shared/file", **mount), "name": "first"}
    side = {**sh("trap 'exit 0' TERM; while :; do sleep 0.1; done"), "name": "side", "restartPolicy": "Always"}
    same(output(sh("cat /shared/file", **mount), volumes=[volume], initContainers=[first, side]), "first")


@test
def the_grace_period_is_kept():
    pod(sh("trap 'echo term; sleep 0.5; echo end; exit 0' TERM; echo ready; while :; do sleep 0.1; done"), terminationGracePeriodSeconds=30)
    same(log_until_deleted("ready"), ["ready", "term", "end"])


@test
def what_ignores_TERM_is_killed():
    pod(sh("trap '' TERM; while :; do sleep 0.1; done"))
    ready()
    must(["kubectl", "delete", "pod", "pod", "--wait", "--timeout=30s"])


@test
def a_security_context():
    context = {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    script = "id -u; id -g; touch /file 2>/dev/null || echo read-only; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | cut -f 2"
    same(output(sh(script, securityContext=context)).split(), ["1000", "1000", "read-only", "0000000000000000", "1", "2"])


@test
def fsgroup_and_supplementary_groups():
    context = {"runAsUser": 1001, "runAsGroup": 1001, "fsGroup": 2000, "supplementalGroups": [3000]}
    script = "id -G; stat -c %g /data; touch /data/file && stat -c %g /data/file"
    volume = {"name": "data", "emptyDir": {}}
    seen = output(sh(script, volumeMounts=[{"name": "data", "mountPath": "/data"}]), securityContext=context, volumes=[volume]).split()
    same(sorted(seen), sorted(["1001", "2000", "3000", "2000", "2000"]))


@test
def a_privileged_container():
    same(output(sh("mount -t tmpfs x /mnt 2>&1 || mount -t tmpfs x /tmp && echo mounted", securityContext={"privileged": True})).split()[-1], "mounted")


@test
def sysctls_of_a_pod():
    context = {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "net.ipv4.ip_local_port_range", "value": "2000 3000"}]}
    same(output(sh("cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range"), securityContext=context).split(), ["1", "2000", "3000"])


@test
def configuration_as_files():
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"one": "1", "two": "2"}})
    volumes = [{"name": "map", "configMap": {"name": "map"}}]
    mounts = [{"name": "map", "mountPath": "/map"}, {"name": "map", "mountPath": "/etc/two", "subPath": "two", "readOnly": True}]
    variables = [{"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "one"}}}]
    same(output(sh("cat /map/one /etc/two; echo $ONE", volumeMounts=mounts, env=variables), volumes=volumes), "121")


@test
def read_only_mounts_all_the_way_down():
    volumes = [{"name": "host", "hostPath": {"path": "/run/tmp"}}]
    mounts = [{"name": "host", "mountPath": "/host", "readOnly": True, "recursiveReadOnly": "IfPossible"}]
    same(output(sh("touch /host/file 2>/dev/null || echo read-only", volumeMounts=mounts), volumes=volumes), "read-only")


@test
def containers_of_a_pod_share_its_network_and_ipc():
    show = "for kind in net ipc; do readlink /proc/self/ns/$kind; done; "
    server = {**sh(show + "while :; do echo hello | nc -l -p 7000; done"), "name": "server"}
    client = sh(show + "until nc 127.0.0.1 7000 </dev/null 2>/dev/null; do sleep 0.1; done")
    pod(client, server)
    until(lambda: "hello" in call(["kubectl", "logs", "pod", "-c", "main"]).out, "the client has its answer")
    same(must(["kubectl", "logs", "pod", "-c", "main"]).split()[:2], must(["kubectl", "logs", "pod", "-c", "server"]).split())


@test
def a_shared_process_namespace():
    same(output(sh("cat /proc/1/comm"), shareProcessNamespace=True), "pause")


@test
def the_hosts_namespaces():
    script = "for kind in net ipc pid; do readlink /proc/self/ns/$kind; done"
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "ipc", "pid")]
    same(output(sh(script), hostNetwork=True, hostIPC=True, hostPID=True).split(), own)


@test
def a_user_namespace():
    seen = output(sh("cat /proc/self/uid_map; id -u"), hostUsers=False).split()
    expect(seen[0] == "0" and seen[1] != "0" and seen[2] == "65536" and seen[3] == "0", seen)


@test
def pods_reach_each_other():
    pod(sh("while :; do echo hello | nc -l -p 7000; done"), name="server")
    ready("server")
    address = status("server")["podIP"]
    same(output(sh(f"until nc {address} 7000 </dev/null 2>/dev/null; do sleep 0.1; done")), "hello")


@test
def statistics_of_a_pod():
    pod(sh("while :; do sleep 0.1; done"))
    ready()
    wanted = re.compile(r'^container_memory_working_set_bytes\{container="main",.* [1-9]', re.MULTILINE)
    metrics = lambda: must(["kubectl", "get", "--raw", "/api/v1/nodes/node/proxy/metrics/resource"])  # noqa: E731
    until(lambda: wanted.search(metrics()), "the kubelet knows how much memory the pod has")


@test
def exec_and_its_exit_codes():
    pod(sh("while :; do sleep 0.1; done"))
    ready()
    result = kexec("sh", "-c", "echo out; echo err >&2; exit 7")
    same((result.code, result.out), (7, "out\n"))
    expect("err" in result.err, result)
    expect(kexec("/no/such/program").code != 0, "a program that is not there was executed")
    same(call(["kubectl", "exec", "-i", "pod", "--", "cat"], stdin=b"through and back").out, "through and back")


@test
def exec_at_a_terminal():
    pod(sh("while :; do sleep 0.1; done"))
    ready()
    result = call(["script", "-qec", "kubectl exec -it pod -- sh -c 'tty; sleep 1; exit 5'", "/dev/null"])
    same(result.code, 5)
    expect("/dev/pts/" in result.out, result)


@test
def probes_that_execute():
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    pod(sh("sleep 2; touch /tmp/ready; while :; do sleep 0.1; done", readinessProbe=probe, startupProbe={**probe, "failureThreshold": 60}))
    ready()
    same(kexec("rm", "/tmp/ready").code, 0)
    must(["kubectl", "wait", "--for=condition=Ready=false", "--timeout=30s", "pod/pod"])


@test
def a_liveness_probe_restarts():
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    pod(sh("while :; do sleep 0.1; done", livenessProbe=probe), restartPolicy="Always")
    until(lambda: status().get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1, "it is restarted")


@test
def hooks_of_a_containers_life():
    handlers = {"postStart": {"exec": {"command": ["sh", "-c", "echo began > /began"]}}, "preStop": {"exec": {"command": ["sh", "-c", "echo stops > /proc/1/fd/1"]}}}
    pod(sh("until cat /began 2>/dev/null; do sleep 0.1; done; trap 'exit 0' TERM; while :; do sleep 0.1; done", lifecycle=handlers), terminationGracePeriodSeconds=10)
    same(log_until_deleted("began"), ["began", "stops"])


@test
def files_are_copied():
    pod(sh("while :; do sleep 0.1; done"))
    ready()
    node.write("/run/tmp/there", "there and back")
    must(["kubectl", "cp", "/run/tmp/there", "pod:/tmp/there"])
    must(["kubectl", "cp", "pod:/tmp/there", "/run/tmp/back"])
    same(pathlib.Path("/run/tmp/back").read_text(), "there and back")


@test
def a_debug_container_sees_the_others_processes():
    pod(sh("while :; do sleep 0.1; done"))
    ready()
    must(["kubectl", "debug", "pod", f"--image={images.BUSYBOX_IMAGE}", "--target=main", "--container=debug", "--", "sh", "-c", "cat /proc/1/cmdline"])
    until(lambda: "while" in call(["kubectl", "logs", "pod", "-c", "debug"]).out, "the debug container sees the other's first process")


@test
def resources_change_in_place():
    pod(sh("while :; do sleep 0.1; done", resources={"limits": {"cpu": "200m", "memory": "64Mi"}}))
    ready()
    change = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "400m", "memory": "64Mi"}, "requests": {"cpu": "400m"}}}]}}
    must(["kubectl", "patch", "pod", "pod", "--subresource", "resize", "--patch", json.dumps(change)])
    script = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true"
    until(lambda: kexec("sh", "-c", script).out.startswith("40000"), "the quota has changed")
