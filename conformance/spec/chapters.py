"""The specification's chapters, found as the Go module that go.mod pins, cut into clauses."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = "github.com/opencontainers/runtime-spec"
# Those that bind a runtime for Linux.
CHAPTERS = ["bundle.md", "runtime.md", "runtime-linux.md", "config.md", "config-linux.md", "features.md", "features-linux.md"]
# RFC 2119, without what leaves a choice.
KEYWORD = re.compile(r"\b(MUST NOT|MUST|SHALL NOT|SHALL|SHOULD NOT|SHOULD|REQUIRED|NOT RECOMMENDED|RECOMMENDED)\b")


def go(*arguments):
    """Runs a go command for the module here, and gives its standard output; a failure ends the script with go's own words."""
    environment = dict(os.environ, GOFLAGS="-mod=readonly", GOWORK="off")
    try:
        done = subprocess.run(["go", *arguments], cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        sys.exit("go is needed to fetch the specification (Debian: golang-go)")
    if done.returncode != 0:
        sys.exit(f"go {' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def directory():
    """The directory of the specification in the module cache, fetched and compared with go.sum where it is not there yet."""
    return Path(json.loads(go("mod", "download", "-json", MODULE))["Dir"])


def version():
    """The version that is pinned."""
    return re.search(re.escape(MODULE) + r" (v\S+)", (HERE / "go.mod").read_text()).group(1)


@dataclass
class Clause:
    """A sentence with a key word."""

    chapter: str
    anchor: str
    section: str
    line: int
    text: str
    keywords: list
    id: str = ""


def clauses(spec):
    """All clauses of the chapters, in their order. The id survives changes elsewhere in the chapter: section, and hash of the sentence."""
    found, ids = [], set()
    for chapter in CHAPTERS:
        for clause in of_chapter(chapter, (spec / chapter).read_text().splitlines()):
            digest = hashlib.sha256(clause.text.encode()).hexdigest()[:6]
            base, n = f"{clause.anchor}/{digest}", 1
            clause.id = base
            while (chapter, clause.id) in ids:
                n += 1
                clause.id = f"{base}-{n}"
            ids.add((chapter, clause.id))
            found.append(clause)
    return found


def of_chapter(chapter, lines):
    """The clauses of one chapter, without ids."""
    anchor, section, fenced = "", "", False
    block = []  # (line number, text) of a paragraph, a list item or a row
    for number, line in enumerate([*lines, ""], 1):
        text = line.strip()
        if text.startswith("```"):
            fenced = not fenced
        heading = re.match(r"#+ +(?:<a name=\"([^\"]+)\" ?/> *)?(.*)", text)
        starts = re.match(r"(?:[*>-]|\d+\.) |\|", text) or re.match(r" ?\S.*\|", line) or re.match(r"\[[^\]]+\]:", text)
        if fenced or not text or text.startswith("```") or heading or starts:
            yield from of_block(chapter, anchor, section, block)
            block = []
        # An example says nothing; what follows it belongs to the section that it is in.
        if heading and not fenced and not heading.group(2).startswith("Example"):
            section = plain(heading.group(2))
            anchor = heading.group(1) or re.sub(r"[^a-z0-9]+", "-", section.lower()).strip("-")
        elif text and not fenced and not text.startswith("```") and not re.match(r"\[[^\]]+\]:", text):
            block.append((number, text))


def of_block(chapter, anchor, section, block):
    """The clauses of a paragraph."""
    text, starts = "", []
    for number, line in block:
        starts.append((len(text), number))
        text += line + " "
    for match in re.finditer(r".+?(?:(?<!e\.g)(?<!i\.e)[.!?]\)?(?= +[A-Z`*\[])|$)", text.rstrip()):
        sentence = plain(match.group())
        keywords = KEYWORD.findall(sentence)
        if keywords:
            begin = match.start() + len(match.group()) - len(match.group().lstrip())
            line = max(number for offset, number in starts if offset <= begin)
            yield Clause(chapter, anchor, section, line, sentence, keywords)


def plain(text):
    """The words without the marks of lists, links and emphasis."""
    text = re.sub(r"<a name=[^>]*/>", "", text)
    text = re.sub(r"\[\^\d+\]", "", text)
    text = re.sub(r"\[((?:[^\[\]]|\[\])+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = text.replace("**", "").strip().strip("|").strip()
    text = re.sub(r"^(?:[*>-]|\d+\.) +", "", text)
    text = re.sub(r"(?<![\w*])\*(?=\()|(?<=\))\*", "", text)
    return re.sub(r"\s+", " ", text)
