"""One measurement in a process of its own: `python -m steps.worker '{...}'`. Prints one JSON object."""

import asyncio
import importlib
import json
import resource
import sys
import time
from typing import Any

from steps.shapes import STEPS, check

# Steps between which the bytes that were written are counted, early and late in a run.
EARLY = (5, 15)
LATE = (895, 995)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def written() -> int:
    """Bytes that this process has handed to `write`."""
    with open("/proc/self/io") as io:
        return int(next(line for line in io if line.startswith("wchar")).split()[1])


async def measure(job: dict[str, Any]) -> dict[str, Any]:
    shape, at_once, seconds = job["shape"], job["at_once"], job["seconds"]
    marks: dict[int, int] = {}

    def seen(step: int) -> None:
        if step in EARLY or step in LATE:
            marks.setdefault(step, written())

    arm = importlib.import_module(f"steps.{job['arm']}")
    async with arm.prepare(shape, job["store"], job["place"], seen) as run:
        count = 0

        async def worker(number: int, until: float) -> None:
            nonlocal count
            turn = 0
            while turn == 0 or time.monotonic() < until:
                check(shape, await run(f"{job['name']}-{until}-{number}-{turn}"))
                count += 1
                turn += 1

        async def load(workers: int, seconds: float) -> None:
            until = time.monotonic() + seconds
            await asyncio.gather(*(worker(number, until) for number in range(workers)))

        if shape == "history":
            await run(job["name"])
            return {
                "early": (marks[EARLY[1]] - marks[EARLY[0]]) / (EARLY[1] - EARLY[0]),
                "late": (marks[LATE[1]] - marks[LATE[0]]) / (LATE[1] - LATE[0]),
            }
        await load(min(at_once, 4), seconds / 4)
        count, began, used = 0, time.monotonic(), cpu()
        await load(at_once, seconds)
        steps = count * STEPS[shape]
        return {"cpu": (cpu() - used) / steps, "wall": (time.monotonic() - began) / steps, "steps": steps}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(json.loads(sys.argv[1])))))
