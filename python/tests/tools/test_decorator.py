"""`@tool` on all that can be called, and what it says where it is misused."""

import asyncio
import collections.abc
import copy
import functools
import inspect
import pickle
import sys
from typing import Any

import pytest

from ambidex.errors import ConfigError, UsageError
from ambidex.tools import Tool, as_tool, tool


@tool
def word_count(text: str) -> int:
    """Counts words."""
    return len(text.split())


@tool(effect="once", timeout=10, parallel=False, name="post", description="Sends.", concurrency=2, attempts=1)
async def send(to: str, body: str = "hi") -> str:
    """Not told."""
    return f"{to}: {body}"


class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    @tool
    def add(self, amount: int = 1) -> int:
        """Adds.

        Args:
            amount: How much.
        """
        self.value += amount
        return self.value

    @tool(effect="read")
    async def read(self) -> int:
        return self.value

    def plain(self, amount: int) -> int:
        return self.value + amount

    @classmethod
    @tool
    def made(cls, start: int) -> "Counter":
        return cls(start)

    @tool
    @classmethod
    def made_too(cls, start: int) -> "Counter":
        return cls(start)

    @staticmethod
    @tool
    def double(number: int) -> int:
        return 2 * number

    @tool
    @staticmethod
    def triple(number: int) -> int:
        return 3 * number


class Callable:
    """An object that is called."""

    def __call__(self, text: str) -> str:
        """Says it."""
        return text.upper()


def test_it_stays_the_function() -> None:
    assert word_count("a b") == 2
    assert word_count.__name__ == "word_count"
    assert word_count.__doc__ == "Counts words."
    assert word_count.__module__ == __name__
    assert str(inspect.signature(word_count)) == "(text: str) -> int"
    assert inspect.unwrap(word_count).__code__.co_name == "word_count"
    assert asyncio.run(send("a")) == "a: hi"


def test_it_says_what_the_model_is_told() -> None:
    assert isinstance(word_count, Tool)
    assert word_count.name == "word_count"
    assert word_count.description == "Counts words."
    assert word_count.schema["properties"] == {"text": {"type": "string"}}
    assert word_count.input_schema == word_count.schema
    assert word_count.output_schema == {"type": "integer"}
    assert (send.name, send.description) == ("post", "Sends.")


def test_options_and_what_holds_without_them() -> None:
    assert (word_count.effect, word_count.exclusive, word_count.timeout) == ("undeclared", False, None)
    assert (word_count.concurrency, word_count.attempts) == (None, None)
    assert (word_count.on_error, word_count.thread) == ("tell", "pool")
    assert (send.effect, send.exclusive, send.timeout) == ("once", True, 10.0)
    assert (send.concurrency, send.attempts) == (2, 1)


def test_kinds() -> None:
    @tool
    def steps(n: int) -> collections.abc.Iterator[int]:
        yield n

    @tool
    async def asteps(n: int) -> collections.abc.AsyncIterator[int]:
        yield n

    assert [one.kind for one in (word_count, send, steps, asteps)] == [
        "sync",
        "async",
        "generator",
        "async_generator",
    ]
    assert list(steps.call({"n": 3})) == [3]
    assert inspect.isasyncgen(asteps.call({"n": 3}))
    assert asyncio.run(send.call({"to": "a"})) == "a: hi"


def test_async_tools_are_known_as_async() -> None:
    with_warnings = asyncio.iscoroutinefunction if sys.version_info < (3, 12) else inspect.iscoroutinefunction
    assert with_warnings(send)
    assert not with_warnings(word_count)


def test_methods() -> None:
    counter = Counter(3)
    assert counter.add(2) == 5
    assert counter.add.schema["properties"]["amount"] == {
        "type": "integer",
        "description": "How much.",
        "default": 1,
    }
    assert "required" not in counter.add.schema
    assert counter.add.call({"amount": 2}) == 7
    assert asyncio.run(counter.read.call({})) == 7
    assert as_tool(counter.add).call({}) == 8
    assert Counter.add(counter, 1) == 9
    assert counter.add.name == "add"
    assert counter.read.effect == "read"
    other = Counter()
    assert other.add.call({}) == 1
    assert counter.value == 9


def test_plain_methods_are_compiled_as_they_are_given() -> None:
    counter, other = Counter(3), Counter(4)
    assert as_tool(counter.plain).call({"amount": 2}) == 5
    assert as_tool(other.plain).call({"amount": 2}) == 6
    assert list(as_tool(counter.plain).schema["properties"]) == ["amount"]


def test_class_and_static_methods() -> None:
    for made in (Counter.made, Counter.made_too, Counter().made, Counter().made_too):
        assert made(2).value == 2
        assert as_tool(made).call({"start": 3}).value == 3
    for method, factor in (
        (Counter.double, 2),
        (Counter.triple, 3),
        (Counter().double, 2),
        (Counter().triple, 3),
    ):
        assert method(2) == 2 * factor
        assert as_tool(method).call({"number": 3}) == 3 * factor


def test_a_method_without_its_object_is_refused() -> None:
    for method in (Counter.add, Counter.plain):
        with pytest.raises(
            UsageError, match=r"`Counter\.\w+` is a method of no object; .* such as `counter\.\w+`"
        ):
            as_tool(method)


def test_a_tool_on_a_class_that_is_no_method_is_not_bound() -> None:
    class Box:
        count = word_count

    assert Box().count("a b c") == 3


def test_partials() -> None:
    def add(a: int, b: int, *, c: int = 0) -> int:
        """Adds."""
        return a * 100 + b * 10 + c

    found = as_tool(functools.partial(add, 1, c=3))
    assert found.name == "add"
    assert found.description == "Adds."
    assert list(found.schema["properties"]) == ["b"]
    assert found.call({"b": 2}) == 123
    assert as_tool(functools.partial(Counter(5).plain, 2)).call({}) == 7
    assert as_tool(functools.partial(send.__wrapped__, "x")).kind == "async"


def test_objects_that_are_called() -> None:
    found = tool(Callable())
    assert found.name == "Callable"
    assert found.description == "Says it."
    assert found.call({"text": "a"}) == "A"
    assert found("b") == "B"


def test_wrapped_functions_have_the_parameters_of_what_they_wrap() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return ["logged", function(*args, **kwargs)]

        return wrapper

    @tool
    @logged
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @tool
    @functools.lru_cache
    def slow(a: int) -> int:
        return a

    assert add.call({"a": 1, "b": 2}) == ["logged", 3]
    assert add.schema["required"] == ["a", "b"]
    assert slow.call({"a": 1}) == 1


def test_a_signature_that_is_set_counts() -> None:
    def anything(**values: Any) -> Any:
        return values

    parameter = inspect.Parameter("size", inspect.Parameter.KEYWORD_ONLY, annotation=int, default=3)
    anything.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    found = tool(anything)
    assert found.schema["properties"] == {"size": {"type": "integer", "default": 3}}
    assert found.call({"size": 4}) == {"size": 4}


def test_the_context_is_no_argument() -> None:
    class ToolContext:
        __module__ = "ambidex._core"

    @tool
    def by_name(a: int, ctx) -> Any:  # type: ignore[no-untyped-def]
        return ctx

    @tool
    def by_hint(context: ToolContext, a: int = 0) -> Any:
        return context

    @tool
    def perhaps(a: int, context: ToolContext | None = None) -> Any:
        return context

    @tool
    def data(ctx: str) -> Any:
        return ctx

    @tool
    def none(a: int) -> None: ...

    for one, name in ((by_name, "ctx"), (by_hint, "context"), (perhaps, "context")):
        assert one.wants_context == name
        assert list(one.schema["properties"]) == ["a"]
        assert one.call({"a": 1}, "the context") == "the context"
    assert data.wants_context is None
    assert data.call({"ctx": "text"}, "the context") == "text"
    assert none.wants_context is None


def test_plain_functions_are_compiled_once() -> None:
    def f(a: int) -> int:
        return a

    assert as_tool(f) is as_tool(f)
    assert as_tool(word_count) is word_count

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> int:
        return 2 * f(*args, **kwargs)

    assert as_tool(wrapper).call({"a": 3}) == 6


def test_copies_and_pickles() -> None:
    assert pickle.loads(pickle.dumps(word_count)) is word_count
    assert copy.deepcopy([word_count])[0] is word_count
    assert copy.copy(word_count) is word_count
    assert pickle.loads(pickle.dumps(Counter(3).add)).call({}) == 4
    assert pickle.loads(pickle.dumps(as_tool(plain))).call({"a": 1}) == 1


def plain(a: int) -> int:
    return a


# -- misuse ----------------------------------------------------------------------------------------------------


def raises(text: str) -> Any:
    return pytest.raises(UsageError, match=text)


def test_parameters_without_annotations() -> None:
    with raises("no type annotation") as raised:

        @tool
        def find(query, limit=3, exact: bool = False):  # type: ignore[no-untyped-def]
            ...

    message = str(raised.value)
    line = test_parameters_without_annotations.__code__.co_firstlineno + 3
    assert message == (
        f"tool `find` ({__file__}:{line}): `query` and `limit` have no type annotation, so the model cannot be told"
        " what to give; annotate them, such as `query: str`"
    )
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, ConfigError)


def test_arguments_without_names() -> None:
    with raises(
        r"`\*words` has no names that a model could give; take a list in its place, such as `words: list\[str\]`"
    ):

        @tool
        def say(*words: str) -> None: ...


def test_a_context_that_cannot_be_given_by_name() -> None:
    with raises("the context `ctx` must be a parameter that can be given by name"):

        @tool
        def f(ctx, /) -> None: ...  # type: ignore[no-untyped-def]


def test_functions_without_a_signature() -> None:
    for function in (len, max, getattr):  # which of them has one depends on the version
        with raises("no type annotation|cannot be read; write a small `def`|has no names"):
            tool(function)


MISUSES: list[tuple[dict[str, Any], str]] = [
    ({"effect": "write"}, "`effect` is one of 'read', 'idempotent', 'once', not 'write'"),
    ({"timeout": 0}, "`timeout` is a number of seconds above 0, not 0"),
    ({"timeout": "10s"}, "`timeout` is a number of seconds above 0, not '10s'"),
    ({"timeout": float("inf")}, "`timeout` is a number of seconds above 0, not inf"),
    ({"concurrency": 0}, "`concurrency` is a whole number of at least 1, not 0"),
    ({"attempts": 1.5}, "`attempts` is a whole number of at least 1, not 1.5"),
    ({"name": "a b"}, "`a b` cannot be the name of a tool; give one with `name=`"),
    ({"on_error": "ignore"}, "`on_error` is 'tell' .* or 'raise' .*, not 'ignore'"),
    ({"thread": "main"}, "`thread` is 'pool' or 'caller', not 'main'"),
    ({"efect": "read"}, r"tool\(\) has no option `efect`; there are `effect`, `timeout`"),
]


@pytest.mark.parametrize(("options", "problem"), MISUSES, ids=lambda value: str(value)[:40])
def test_options_that_do_not_exist_or_do_not_fit(options: dict[str, Any], problem: str) -> None:
    with raises(problem):

        @tool(**options)
        def f(a: int) -> None: ...


def test_async_tools_choose_no_thread() -> None:
    with raises("`thread` is for `def` tools"):

        @tool(thread="caller")
        async def f(a: int) -> None: ...


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (word_count, "`word_count` is a tool already; use `@tool` once"),
        ("name", r"`@tool` takes options by name: write `@tool\(name='name'\)`"),
        (Counter, "`Counter` is a class; decorate a function or a method"),
        (3, "`@tool` is for functions, not for `int`"),
        (lambda: None, "`<lambda>` cannot be the name of a tool; give one with `name=`"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_function(thing: Any, problem: str) -> None:
    with raises(problem):
        tool(thing)
