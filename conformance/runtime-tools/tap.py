"""What a test program of the suite said: TAP on standard output, and how it ended.

The programs say that something failed in four ways: by a point that is `not ok`; by an error in a diagnostic block where there is no point at all
(some print nothing else); by their exit code; by breaking off before the plan, or by another number of points than the plan has.
"""

import dataclasses
import json
import re

POINT = re.compile(r"(not )?ok\b(?: \d+)?(?: -)? ?(.*)")
PLAN = re.compile(r"1\.\.(\d+)")
SKIP = re.compile(r"# *skip\b", re.IGNORECASE)


@dataclasses.dataclass
class Outcome:
    """`failures` holds a line for each thing that failed; the other two count points."""

    passed: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)


def parse(text, code):
    """The outcome of a program that printed `text` and ended with `code`, None where it was cut off."""
    outcome = Outcome()
    points, plan = 0, None
    for line, block in blocks(text):
        if plan_line := PLAN.fullmatch(line):
            plan = (plan or 0) + int(plan_line[1])
        elif point := POINT.fullmatch(line):
            points += 1
            if point[1]:
                outcome.failures.append(point[2])
            elif SKIP.search(point[2]):
                outcome.skipped += 1
            else:
                outcome.passed += 1
        # Below a point the block explains that point.
        if points == 0 and (error := error_of(block)):
            outcome.failures.append(error)
    if code is None:
        outcome.failures.append("timeout")
    elif code != 0:
        outcome.failures.append(f"exit code {code}")
    elif plan != points:
        outcome.failures.append("no plan" if plan is None else f"{points} points of a plan of {plan}")
    return outcome


def blocks(text):
    """Each line that is no part of a block, with the text of the block (between `---` and `...`) that follows it."""
    line, block, inside = "", [], False
    for next_line in text.splitlines():
        stripped = next_line.strip()
        if inside:
            inside = stripped != "..."
            if inside:
                block.append(next_line)
        elif stripped == "---":
            inside = True
        else:
            yield line, "\n".join(block)
            line, block = next_line, []
    yield line, "\n".join(block)


def error_of(block):
    """The first line of the error in a block; the suite writes its blocks in JSON."""
    try:
        return json.loads(block)["error"].splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
