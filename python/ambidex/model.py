"""Models: one call, without an agent around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _bridge, _core
from ._checks import duration, number, sendable, spoken, unknown
from .errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn

    from ._core import Reply
    from .messages import Message
    from .streams import Stream

    Conversation = str | Message | Mapping[str, Any] | Iterable[Message | Mapping[str, Any] | str]

__all__ = ["Model"]

_SETTINGS = (
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "reasoning",
    "parallel_tool_calls",
    "extra",
    "price",
    "context",
    "capabilities",
    "output_method",
    "retry",
    "timeout",
)
_ARGUMENTS = ("name", "base_url", "api_key", "headers", *_SETTINGS)


class Model:
    """A model: of a provider, or one that ``ambidex.toml`` names.

    ``Model("openai:MODEL-ID")`` names a provider (or vendor, such as ``groq`` or ``vllm``) and its model; ``base_url``
    and ``api_key`` stand in place of what the configuration or the vendor's environment variable says.
    ``Model("big")`` is the model or route of that name in ``ambidex.toml``; ``demo`` is always there, offline.

    Settings are those of ``[models.NAME]``: ``temperature``, ``max_tokens``, ``top_p``, ``seed``, ``stop``,
    ``reasoning`` (an effort such as ``"low"``, or tokens), ``parallel_tool_calls``, ``extra`` (fields of the request's
    body), ``price`` (``{"input", "output"}``, US dollars per million tokens), ``context`` (tokens), ``capabilities``,
    ``output_method``, ``retry`` (attempts, or ``{"attempts", "base", "cap"}``) and ``timeout`` (seconds in all, or
    ``{"connect", "first_token", "idle", "total"}``). Times are seconds.

    Building one opens nothing: connections are shared by the process, and opened when they are needed.
    """

    __slots__ = ("__weakref__", "_config", "_core", "_label")

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        reasoning: str | int | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        extra: Mapping[str, Any] | None = None,
        price: Mapping[str, float] | None = None,
        context: int | None = None,
        capabilities: Mapping[str, Any] | None = None,
        output_method: str | None = None,
        retry: int | Mapping[str, Any] | None = None,
        timeout: float | Mapping[str, Any] | None = None,
        **unknown_arguments: NoReturn,
    ) -> None:
        if unknown_arguments:
            raise unknown("ax.Model", unknown_arguments, _ARGUMENTS)
        if not isinstance(name, str) or not name:
            raise UsageError(
                f"ax.Model: the name is {name!r}; give it 'PROVIDER:MODEL-ID', or a name of ambidex.toml"
            )
        if api_key is not None and not isinstance(api_key, str):
            raise UsageError(f"ax.Model: api_key is a text, not {type(api_key).__name__}")
        settings = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "stop": [stop] if isinstance(stop, str) else stop,
            "reasoning": _reasoning(reasoning),
            "parallel_tool_calls": parallel_tool_calls,
            "extra": extra,
            "price": price,
            "context": context,
            "capabilities": capabilities,
            "output_method": output_method,
            "retry": retry_options(retry),
            "timeout": timeout_options(timeout),
        }
        provider: dict[str, Any] = {}
        if base_url is not None:
            provider["base_url"] = str(base_url)
        if headers:
            provider["headers"] = dict(headers)
        self._label = ""
        self._config: tuple[Any, ...] | None = (
            name,
            {name: _plain(value) for name, value in settings.items() if value is not None},
            provider,
            api_key,
        )
        self._core = _core.Model.configured(*self._config)

    @classmethod
    def _of(cls, core: _core.Model, label: str) -> Model:
        """A model that is no name. It shows itself by the label, which is told without making it."""
        model = cls.__new__(cls)
        model._core = core
        model._config = None
        model._label = label
        return model

    @property
    def name(self) -> str:
        """The name that results and events know it by."""
        return self._core.name()

    def chat(
        self,
        input: Conversation,
        *,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Reply:
        """Asks once and gives the reply: ``.text``, ``.tool_calls``, ``.usage``; ``str(reply)`` is the text.

        ``timeout`` is in seconds, 30 where it is not given. Raises ``ModelError`` and its kin.
        """
        return self._core.chat(*_call("chat", input, system, temperature, max_tokens, timeout, settings))

    async def achat(
        self,
        input: Conversation,
        *,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Reply:
        """Like :meth:`chat`, awaited on any loop."""
        call = _call("achat", input, system, temperature, max_tokens, timeout, settings)
        reply: Reply = await _bridge.awaited(self._core.achat, *call)
        return reply

    def stream(
        self,
        input: Conversation,
        *,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Stream[Reply]:
        """Asks once and gives the events of the reply as they come: ``for event in model.stream("hi")``."""
        from .streams import Stream

        call = _call("stream", input, system, temperature, max_tokens, timeout, settings)
        return Stream(self._core.stream(*call), "stream", _same, self)

    def astream(
        self,
        input: Conversation,
        *,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> Stream[Reply]:
        """Like :meth:`stream`, for ``async for``."""
        from .streams import Stream

        call = _call("astream", input, system, temperature, max_tokens, timeout, settings)
        return Stream(self._core.stream(*call), "astream", _same, self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._config is None:
            raise _not_pickled("a model made of Python objects")
        name, settings, provider, api_key = self._config
        if api_key is not None:
            raise _not_pickled("a model with an api_key written out")
        return (_rebuilt, (name, settings, provider))

    def __repr__(self) -> str:
        if self._config is None:
            return f"<Model {self._label}>"
        settings = ", ".join(f"{name}={value!r}" for name, value in self._config[1].items())
        return f"Model({self._config[0]!r}{', ' if settings else ''}{settings})"


def _rebuilt(name: str, settings: dict[str, Any], provider: dict[str, Any]) -> Model:
    model = Model.__new__(Model)
    model._config = (name, settings, provider, None)
    model._core = _core.Model.configured(name, settings, provider, None)
    return model


def _same(reply: Reply) -> Reply:
    return reply


def _not_pickled(what: str) -> UsageError:
    return UsageError(
        f"{what} cannot be pickled; build it in the other process, name it in ambidex.toml, or give the key by its "
        "environment variable"
    )


def as_model(given: Any, where: str) -> Model:
    """What is taken wherever a model is: a model, or its name."""
    if isinstance(given, Model):
        return given
    if isinstance(given, str) and given:
        # A name alone needs no looking at.
        model = Model.__new__(Model)
        model._config = (given, {}, {}, None)
        model._core = _core.Model.configured(given)
        return model
    if given is None:
        raise UsageError(
            f'{where} has no model; give it one: model="openai:MODEL-ID", a name of ambidex.toml, or '
            'model="demo", which answers offline'
        )
    if callable(given) and not isinstance(given, type):
        raise UsageError(f"{where}: a function becomes a model with ax.models.function({_name(given)})")
    raise UsageError(
        f'{where}: the model is {given!r}; give it a name such as "openai:MODEL-ID", or an ax.Model'
    )


def _name(given: Any) -> str:
    return getattr(given, "__name__", "fn")


_CALL = ("system", "temperature", "max_tokens", "timeout", "top_p", "seed", "stop", "reasoning", "extra")


def _call(
    where: str,
    input: Any,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    timeout: float | None,
    settings: dict[str, Any],
) -> tuple[Any, ...]:
    """What a call of the core is given."""
    where = f"{where}()"
    plain: dict[str, Any] = {}
    if settings:
        wrong = [name for name in settings if name not in _CALL]
        if wrong:
            raise unknown(where, wrong, ("input", *_CALL))
        for name, value in settings.items():
            if name == "stop":
                plain["stop_sequences"] = [value] if isinstance(value, str) else list(value)
            elif name == "reasoning":
                tokens = isinstance(value, int) and not isinstance(value, bool)
                plain["reasoning"] = {"budget_tokens" if tokens else "effort": value}
            else:
                plain[name] = value
    if temperature is not None:
        plain["temperature"] = number(where, "temperature", temperature, least=0)
    if max_tokens is not None:
        plain["max_tokens"] = number(where, "max_tokens", max_tokens, least=1, whole=True)
    duration(where, "timeout", timeout)
    if system is not None:
        if not isinstance(system, str):
            raise UsageError(f"{where}: system is {system!r}; give it a text")
        sendable(f"{where}: system", system)
    if isinstance(input, str):
        spoken(where, input)
    else:
        from .messages import plain_input

        input = plain_input(input)
    return (input, system, plain or None, timeout)


def _reasoning(value: Any) -> Any:
    if isinstance(value, str):
        return {"effort": value}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"tokens": value}
    return value


def seconds(value: Any) -> Any:
    """A time as the configuration writes it; a text is one already."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if not 0 <= value < 1e9:
        raise UsageError(f"a time is {value!r} seconds; give it 0 or more")
    return f"{round(value * 1000)}ms"


def retry_options(retry: Any) -> Any:
    """``retry=3`` is ``{"attempts": 3}``; False is one attempt."""
    if retry is None or retry is True:
        return None
    if retry is False:
        return {"attempts": 1}
    if isinstance(retry, int):
        return {"attempts": retry}
    if isinstance(retry, Mapping):
        return {name: value if name == "attempts" else seconds(value) for name, value in retry.items()}
    raise UsageError(f'retry is {retry!r}; give it a number of attempts, or {{"attempts", "base", "cap"}}')


def timeout_options(timeout: Any) -> Any:
    """``timeout=30`` is ``{"total": 30}``."""
    if timeout is None:
        return None
    if isinstance(timeout, Mapping):
        return {name: seconds(value) for name, value in timeout.items()}
    return {"total": seconds(timeout)}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
