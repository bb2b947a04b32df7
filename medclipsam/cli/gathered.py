"""Lets commands share options: a parameter that is made of options of its own.

def models_of(*, preset: Preset = "embedded", device: Device = "auto", ...) -> Models: ...
ChosenModels = Annotated[Models, Gathered(models_of)]

@offered
def segment(scan: ..., *, load: ChosenModels, ...)      ->  --preset, --device, ... in the place of `load`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


class Gathered:
    """Marks a parameter that `make` makes of options.

    Args:
        make: its parameters are the options.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    @property
    def options(self) -> list[Parameter]:
        """The options, with their types."""
        return _parameters(self._make)

    def take_from(self, given: dict[str, Any]) -> Any:
        """Take the options out of what was given, and make the parameter of them."""
        return self._make(**{each.name: given.pop(each.name) for each in self.options})


def offered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with options in the place of each parameter that is marked by `Gathered`, for typer to read."""
    gathered = {each.name: marked for each in _parameters(command) for marked in _marks(each)}
    if not gathered:
        return command

    @wraps(command)
    def run(**given: Any) -> Any:
        made = {name: marked.take_from(given) for name, marked in gathered.items()}
        return command(**given, **made)

    options = list(_spread(command, gathered))
    described = signature(command).replace(parameters=options)
    vars(run).update(__signature__=described, __annotations__={each.name: each.annotation for each in options})
    return run


def _spread(command: Callable[..., Any], gathered: Mapping[str, Gathered]) -> Iterator[Parameter]:
    for each in _parameters(command):
        yield from gathered[each.name].options if each.name in gathered else [each]


def _parameters(function: Callable[..., Any]) -> list[Parameter]:
    types = get_type_hints(function, include_extras=True)
    return [each.replace(annotation=types[each.name]) for each in signature(function).parameters.values()]


def _marks(parameter: Parameter) -> list[Gathered]:
    return [each for each in getattr(parameter.annotation, "__metadata__", ()) if isinstance(each, Gathered)]
