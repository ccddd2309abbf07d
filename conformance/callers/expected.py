"""expected.toml: which tests do not pass, and why."""

import collections
import re
import sys
import tomllib


class Expected:
    """The entries that hold where the facts `known` do, for the suite `suite`."""

    KEYS = {"test", "outcome", "cause"}

    def __init__(self, path, suite, known, ours):
        content = tomllib.loads(path.read_text())
        self.count = content["tests"].get(suite)
        self.entries = []
        for entry in content["entry"]:
            if not self.KEYS <= entry.keys() <= self.KEYS | {"when", "sometimes", "issue"} or entry["outcome"] not in ("failed", "skipped"):
                sys.exit(f"conformance/callers: {path}: not an entry: {entry}")
            # What waits for work on aril is nobody else's excuse.
            if known.issuperset(entry.get("when", [])) and (ours or "issue" not in entry):
                self.entries.append(entry)

    def judge(self, results, whole):
        """Prints a line for each test and what is wrong with it. Returns the counts; `whole` where every test of the suite was run."""
        counts, seen = collections.Counter(), collections.Counter()
        for name, outcome, message in results:
            fitting = [entry for entry in self.entries if re.fullmatch(entry["test"], name)]
            entry = next((one for one in fitting if one["outcome"] == outcome), None)
            stale = [one for one in fitting if outcome == "passed" and not one.get("sometimes")]
            if stale:
                verdict, note = "failed", f"passes, take it from expected.toml: {stale[0]['cause']}"
            elif outcome == "passed":
                verdict, note = "passed", ""
            elif entry:
                verdict, note = "skipped", entry["cause"]
                seen[entry["test"]] += 1
            else:
                verdict, note = "failed", f"{outcome}: {message}"
            counts[verdict] += 1
            mark = {"passed": "ok", "failed": "not ok", "skipped": "skip"}[verdict]
            first, *more = note.splitlines() or [""]
            print(f"{mark} {name}" + (f" # {first}" if first else ""))
            print("".join(f"    {line}\n" for line in more[:4]), end="", flush=True)
        total = sum(counts.values())
        if whole:
            for entry in self.entries:
                if not seen[entry["test"]] and not entry.get("sometimes"):
                    counts["failed"] += 1
                    print(f"not ok expected.toml names a test that is not there or no longer {entry['outcome']}: {entry['test']}")
            if total != self.count:
                counts["failed"] += 1
                print(f"not ok the suite has {self.count} tests, and {total} were run")
        return counts
