"""What is imported, and when."""

import subprocess
import sys


def modules_after(script: str) -> set[str]:
    script = f"import sys\n{script}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_the_package_of_tools_is_light_until_a_tool_is_made() -> None:
    assert not modules_after("import ambidex.tools") & {
        "inspect",
        "dataclasses",
        "asyncio",
        "ambidex.tools.schema",
    }


def test_a_tool_draws_in_only_what_its_hints_brought() -> None:
    found = modules_after(
        "from ambidex.tools import tool\n"
        "@tool\n"
        "def f(text: str, limit: int | None = None) -> list[str]:\n"
        "    '''Does it.\n\n    Args:\n        text: What.\n    '''\n"
        "f.output(f.call({'text': 'a'}))\n"
    )
    assert "ambidex.tools.decorator" in found
    heavy = {
        "inspect",
        "dataclasses",
        "asyncio",
        "datetime",
        "decimal",
        "uuid",
        "pathlib",
        "json",
        "pydantic",
    }
    assert not found & heavy
