"""What a callable takes, read from its code object where it has one.

`inspect.signature` says the same and takes three times as long, after an import of 10 ms.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from .schema import Unresolved, Unsupported

MISSING: Any = object()
"""No annotation, or no default."""

_VARARGS, _VARKEYWORDS = 0x04, 0x08
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


class Parameter(NamedTuple):
    name: str
    hint: Any
    default: Any
    positional: bool
    """Can be given by position alone."""


class Signature(NamedTuple):
    parameters: list[Parameter]
    """Without the first of a method and without what `functools.partial` has given."""
    args: str | None
    """The name of `*args`."""
    kwargs: Parameter | None
    returns: Any
    method: bool
    """The first parameter is an object that is still to be bound."""


def _call_of(function: Any) -> Any:
    """The `__call__` that the object's class defines."""
    return next(
        (base.__dict__["__call__"] for base in type(function).__mro__ if "__call__" in base.__dict__), None
    )


def code_of(function: Any) -> types.CodeType | None:
    code = getattr(function, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def described(function: Any) -> Any:
    """The function whose parameters and docstring count: behind partials, wrappers, methods and objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__signature__"):
            return function
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif code_of(function) is None and code_of(_call_of(function)) is not None:
            function = type(function).__call__
        else:
            return function


def name_of(function: Any) -> str:
    """The function's name; of an object that is called, its class's."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


def kind_of(function: Any) -> str:
    """`sync`, `async`, `generator` or `async_generator`: what calling it gives."""
    while isinstance(function, (functools.partial, types.MethodType)):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    code = code_of(function)
    if code is None:
        code = code_of(_call_of(function))
    flags = code.co_flags if code is not None else 0
    if flags & (_COROUTINE | _ITERABLE_COROUTINE) or hasattr(function, "_is_coroutine_marker"):
        return "async"
    if flags & _ASYNC_GENERATOR:
        return "async_generator"
    return "generator" if flags & _GENERATOR else "sync"


def place_of(function: Any) -> str:
    """`file:line`, as far as it is known."""
    code = code_of(described(function))
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "no source"


def read(function: Any) -> Signature:
    """What the callable takes when it is called as it is.

    Raises `Unresolved` where its annotations name what does not exist yet, `Unsupported` where it has no
    signature.
    """
    if isinstance(function, functools.partial):
        return _without_given(read(function.func), function)
    if isinstance(function, types.MethodType):
        return _without_first(read(function.__func__))
    if "__signature__" not in getattr(function, "__dict__", ()) and hasattr(function, "__wrapped__"):
        return read(function.__wrapped__)
    code = code_of(function)
    if code is not None and not hasattr(function, "__signature__"):
        return _from_code(function, code)
    call = _call_of(function)
    if (
        code_of(call) is not None
        and not isinstance(function, type)
        and not hasattr(function, "__signature__")
    ):
        return _without_first(read(call))
    return _inspected(function)


def _from_code(function: Any, code: types.CodeType) -> Signature:
    names, count, only_named = code.co_varnames, code.co_argcount, code.co_kwonlyargcount
    hints = hints_of(function)
    defaults = function.__defaults__ or ()
    named_defaults = function.__kwdefaults__ or {}
    first_default = count - len(defaults)
    parameters = [
        Parameter(
            name,
            hints.get(name, MISSING),
            defaults[index - first_default] if index >= first_default else MISSING,
            index < code.co_posonlyargcount,
        )
        for index, name in enumerate(names[:count])
    ]
    for name in names[count : count + only_named]:
        parameters.append(Parameter(name, hints.get(name, MISSING), named_defaults.get(name, MISSING), False))
    after = count + only_named
    args = kwargs = None
    if code.co_flags & _VARARGS:
        args = names[after]
        after += 1
    if code.co_flags & _VARKEYWORDS:
        kwargs = Parameter(names[after], hints.get(names[after], MISSING), MISSING, False)
    owner = function.__qualname__.rpartition(".")[0]
    method = bool(
        owner
        and not owner.endswith("<locals>")
        and parameters
        and (parameters[0].name in ("self", "cls") or parameters[0].hint is MISSING)
    )
    return Signature(parameters, args, kwargs, hints.get("return", MISSING), method)


def hints_of(function: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = getattr(function, "__annotations__", None) or {}
        return found
    except NameError as error:  # Python 3.14 evaluates them now
        raise Unresolved(
            f"the name `{error.name}` in its annotations is not known where it is defined"
        ) from error


def _without_first(signature: Signature) -> Signature:
    return signature._replace(parameters=signature.parameters[1:], method=False)


def _without_given(signature: Signature, partial: functools.partial[Any]) -> Signature:
    rest = signature.parameters[len(partial.args) :]
    rest = [parameter for parameter in rest if parameter.name not in partial.keywords]
    return signature._replace(parameters=rest, method=signature.method and not partial.args)


def _inspected(function: Callable[..., Any]) -> Signature:
    import inspect

    try:
        found = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise Unsupported(
            "its parameters cannot be read; write a small `def` with type annotations around it"
        ) from error
    parameters, args, kwargs = [], None, None
    for parameter in found.parameters.values():
        hint = MISSING if parameter.annotation is parameter.empty else parameter.annotation
        default = MISSING if parameter.default is parameter.empty else parameter.default
        read = Parameter(parameter.name, hint, default, parameter.kind is parameter.POSITIONAL_ONLY)
        if parameter.kind is parameter.VAR_POSITIONAL:
            args = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs = read
        else:
            parameters.append(read)
    returns = MISSING if found.return_annotation is found.empty else found.return_annotation
    return Signature(parameters, args, kwargs, returns, False)
