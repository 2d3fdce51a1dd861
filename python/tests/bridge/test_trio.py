"""What the core asks of a loop of trio's."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest

from ambidex import _bridge, _core

trio = pytest.importorskip("trio")


def test_a_task_that_is_cancelled_before_its_first_step_is_cancelled() -> None:
    from ambidex._trio import TrioCall

    ran: list[str] = []
    ended: list[BaseException | None] = []

    async def waits() -> None:
        await trio.sleep(0)
        ran.append("went on")

    async def main() -> None:
        call = TrioCall()
        call.spawn(0, waits, lambda _, error: ended.append(error), contextvars.copy_context())
        call.cancel(0)
        with trio.fail_after(5):
            while not ended:
                await trio.sleep(0)

    trio.run(main)
    assert ran == []
    assert isinstance(ended[0], RuntimeError)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"]
)
def test_what_is_no_exception_reaches_whoever_waits(error: BaseException) -> None:
    async def raises() -> None:
        raise error

    async def main() -> Any:
        with pytest.raises(type(error)) as caught:
            await _bridge.awaited(_core.acall, raises)
        return caught.value

    assert trio.run(main) is error
