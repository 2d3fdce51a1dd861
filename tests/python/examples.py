#!/usr/bin/env python3
"""The examples of a Markdown document, to run them as they are written.

``examples.py DOCUMENT HEADING`` prints the first Python example below that heading. ``--output`` prints what
the document says it prints: the block ``text`` right after it.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """One fenced block."""

    heading: str
    language: str
    text: str

    @property
    def name(self) -> str | None:
        """The file that its first line names in a comment, as in ``# app.py``."""
        found = re.match(r"#\s*([\w./-]+\.py)\s*$", self.text.partition("\n")[0])
        return found[1] if found else None


def examples(document: Path) -> list[Example]:
    """Every fenced block of a document, in order."""
    found: list[Example] = []
    heading, fence, language, lines = "", "", "", list[str]()
    for line in document.read_text(encoding="utf-8").splitlines():
        if fence:
            if line.strip() == fence:
                found.append(Example(heading, language, "".join(f"{line}\n" for line in lines)))
                fence = ""
            else:
                lines.append(line)
        elif opened := re.match(r"(`{3,})(\w*)", line):
            fence, language, lines = opened[1], opened[2], []
        elif title := re.match(r"#+\s+(.*)", line):
            heading = title[1].strip().strip("`")
    return found


def below(document: Path, heading: str) -> list[Example]:
    """The blocks right below a heading. Fails when there are none: an example that went must not pass."""
    found = [example for example in examples(document) if example.heading == heading]
    if not found:
        raise LookupError(f"{document.name} has no example below {heading!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    parser.add_argument("heading")
    parser.add_argument("--output", action="store_true")
    options = parser.parse_args()
    language = "text" if options.output else "python"
    for example in below(options.document, options.heading):
        if example.language == language:
            sys.stdout.write(example.text)
            return 0
    print(f"no {language} block below {options.heading!r}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
