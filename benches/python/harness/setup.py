"""What every contender is given: the same question, the same two tools, the same upstream."""

from collections.abc import Callable
from itertools import count
from typing import Any

INSTRUCTIONS = (
    "You are a careful engineer. Read the files you need, search where you are not sure, and answer with "
    "the lines that matter. Call several tools at once when they do not depend on each other. Stop as soon "
    "as the question is answered."
)
TASK = (
    "Find where the parts are defined, read each definition, and tell me which of them are used outside "
    "their own file."
)
# The upstream's answers are made of these, over and over.
TOKENS = [
    *("The", " run", " reads", " each", " file", " once", ",", " then"),
    *(" answers", " with", " the", " lines", ' "found"', " there", ".\n", " Next"),
]


def answer(tokens: int) -> str:
    """The text of a reply of so many tokens."""
    return "".join(TOKENS[number % len(TOKENS)] for number in range(tokens))


class Setup:
    """`model` names what the upstream plays; `tools` are plain functions, `async def` unless `blocking`."""

    def __init__(self, upstream: str, model: str, blocking: bool = False) -> None:
        self.base_url = f"http://{upstream}/v1"
        self.model = model
        self.instructions = INSTRUCTIONS
        self.task = TASK
        self._calls = count()
        self._before = 0
        self.tools = blocking_tools(self._calls) if blocking else async_tools(self._calls)

    def calls(self) -> int:
        """How often a tool was called since this was last asked; asking counts as no call."""
        number = next(self._calls)
        calls = number - self._before
        self._before = number + 1
        return calls


# They do next to nothing, so what is measured is the way to them. Asking an iterator for the next number is
# one step of the interpreter, so calls on several threads are counted right.


def async_tools(calls: "count[int]") -> list[Callable[..., Any]]:
    async def read_file(path: str, first_line: int) -> str:
        """Read a few lines of a file of the repository.

        Args:
            path: Path below the root of the repository
            first_line: The first line to read
        """
        next(calls)
        return read(path, first_line)

    async def search_files(text: str, folder: str) -> str:
        """Search the files of a folder for a piece of text.

        Args:
            text: The text to look for
            folder: The folder to search, with all below it
        """
        next(calls)
        return search(text, folder)

    return [read_file, search_files]


def blocking_tools(calls: "count[int]") -> list[Callable[..., Any]]:
    def read_file(path: str, first_line: int) -> str:
        """Read a few lines of a file of the repository.

        Args:
            path: Path below the root of the repository
            first_line: The first line to read
        """
        next(calls)
        return read(path, first_line)

    def search_files(text: str, folder: str) -> str:
        """Search the files of a folder for a piece of text.

        Args:
            text: The text to look for
            folder: The folder to search, with all below it
        """
        next(calls)
        return search(text, folder)

    return [read_file, search_files]


def read(path: str, first_line: int) -> str:
    return f"{path}:{first_line}: pub fn part(input: &[Line]) -> Option<Part> {{\n    input.first()\n}}"


def search(text: str, folder: str) -> str:
    return f'2 matches for "{text}"\n{folder}/part.rs:12\n{folder}/line.rs:48'
