"""Kubernetes' own check of a container runtime, and its outcomes."""

import json
import pathlib
import subprocess

import node


def run(keep, focus, patience):
    """Runs the suite, or the tests whose name matches the regular expression `focus`. Returns (name, outcome, message) of each test."""
    report = pathlib.Path(keep, "report.json")
    argv = ["critest", "-runtime-endpoint", node.SOCKET, "-image-endpoint", node.SOCKET, "-runtime-handler", node.HANDLER]
    argv += ["-ginkgo.no-color", "-ginkgo.seed=1", f"-ginkgo.json-report={report}", *([f"-ginkgo.focus={focus}"] if focus else [])]
    with open(f"{keep}/critest.log", "wb") as log:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=patience)
    for suite in json.loads(report.read_text()):
        for spec in suite["SpecReports"] or []:
            if spec["LeafNodeType"] != "It":
                if spec["State"] != "passed":
                    yield spec["LeafNodeType"], "failed", spec.get("Failure", {}).get("Message", "")
                continue
            name = " ".join([*spec["ContainerHierarchyTexts"], spec["LeafNodeText"]])
            message = spec.get("Failure", {}).get("Message", "")
            outcome = {"passed": "passed", "skipped": "skipped", "pending": "skipped"}.get(spec["State"], "failed")
            # What the focus leaves out is skipped without a word.
            if outcome != "skipped" or message or not focus:
                yield name, outcome, message
