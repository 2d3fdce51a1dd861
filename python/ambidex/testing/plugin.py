"""Fixtures for pytest, which finds this plugin by itself.

- `scripted_model`: makes models that follow a script;
- `fault_model`: makes models that fail on demand;
- `recording`: makes a model whose calls are played back from a file beside the test, or recorded into it;
- `ambidex_no_network`: the test reaches nothing but this machine;
- `ambidex_leaks`: the test leaves no threads and no file descriptors behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..model import Model
    from .faults import FaultModel
    from .leaks import LeakCheck
    from .observer import ObservedModel
    from .scripted import ScriptedModel

_MODES = ("none", "new", "all")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ambidex")
    group.addoption(
        "--ambidex-record",
        choices=_MODES,
        default=None,
        help="what the fixture `recording` does: none plays back alone (the default), new records what has no"
        " recording yet, all records everything anew",
    )
    group.addoption(
        "--ambidex-no-network",
        action="store_true",
        default=None,
        help="all tests reach nothing but this machine",
    )
    parser.addini("ambidex_record", "the same as --ambidex-record", default="none")
    parser.addini("ambidex_no_network", "the same as --ambidex-no-network", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("ambidex_no_network") or config.getini("ambidex_no_network"):
        from .network import no_network

        guard = ExitStack()
        guard.enter_context(no_network())
        config.add_cleanup(guard.close)


@pytest.fixture
def scripted_model() -> type[ScriptedModel]:
    """`ax.testing.ScriptedModel`: `scripted_model(["Hello."])`."""
    from .scripted import ScriptedModel

    return ScriptedModel


@pytest.fixture
def fault_model() -> type[FaultModel]:
    """`ax.testing.FaultModel`: `fault_model(["Hello."], {1: "rate_limited"})`."""
    from .faults import FaultModel

    return FaultModel


@pytest.fixture
def recording(request: pytest.FixtureRequest) -> Callable[..., ObservedModel]:
    """`recording(model)`: the model as it was recorded, from `recordings/MODULE/TEST.json` beside the test.

    `pytest --ambidex-record=new` records what has no recording yet, `=all` everything. A test that takes several
    models names them: `recording(model, "judge")`. `match` is as for `ax.testing.replay`.
    """
    from .recording import record, replay

    mode = request.config.getoption("ambidex_record") or request.config.getini("ambidex_record")
    if mode not in _MODES:
        raise pytest.UsageError(f"ambidex_record is {mode!r}; it is one of {', '.join(_MODES)}")
    folder = Path(request.path).parent / "recordings" / Path(request.path).stem
    given: set[str] = set()

    def make(
        model: Model | str, name: str = "", *, match: Callable[[dict[str, Any]], Any] | None = None
    ) -> ObservedModel:
        if name in given:
            raise pytest.UsageError(
                "`recording` is asked for a second model; give each a name of its own: recording(model, 'judge')"
            )
        given.add(name)
        path = folder / f"{'-'.join(filter(None, (_as_file(request.node.name), _as_file(name))))}.json"
        if mode == "all" or (mode == "new" and not path.exists()):
            return record(path, model)
        return replay(path, match=match)

    return make


@pytest.fixture
def ambidex_no_network() -> Iterator[None]:
    """The test reaches nothing but this machine: `ax.testing.no_network`."""
    from .network import no_network

    with no_network():
        yield


@pytest.fixture
def ambidex_leaks() -> Iterator[LeakCheck]:
    """The test leaves no threads and no file descriptors behind; `ambidex_leaks.allow(fds=1)` makes exceptions."""
    from .leaks import LeakCheck

    check = LeakCheck()
    yield check
    check.verify()


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("_")
