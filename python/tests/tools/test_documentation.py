"""What the documents show runs as it is written, one example after another, and prints what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
import contextlib, io, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from examples import examples

found, names = examples(Path(sys.argv[1])), {"__name__": "__main__"}
ran = 0
for place, example in enumerate(found):
    if example.language != "python":
        continue
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.text, f"{sys.argv[1]}: {example.heading}", "exec", dont_inherit=True), names)
    after = [after.text for after in found[place + 1 : place + 2] if after.language == "text"]
    if printed.getvalue() != "".join(after):
        sys.exit(f"below {example.heading!r} stands\\n{''.join(after)}\\nand printed was\\n{printed.getvalue()}")
    ran += 1
print(ran)
"""


@pytest.mark.parametrize(("document", "examples"), [("python-tools.md", 5), ("python-testing.md", 4)])
def test_examples_print_what_they_say(document: str, examples: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "docs" / document), str(ROOT / "tests" / "python")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", f"{examples}\n")
