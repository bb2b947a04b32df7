"""Settings of a run as TOML and as `key=value`, each with its type, its default and its help; no torch here.

    dataclasses, a docstring under each field --to_toml--> commented TOML --read_toml--> values --changed--> dataclasses
                                                           --set key=value --read_pairs----^

A run is described by several dataclasses (`Parts`: the recipe, where the data come from, ...). Their fields share one
flat name space, so that a TOML has no tables and `--set learning_rate=1e-4` needs no prefix.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from medclipsam.errors import BadInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Part = TypeVar("Part")
Parts = Mapping[str, "DataclassInstance"]
"""The dataclasses that describe a run, by what they are about."""
WIDTH = 100
"""Characters of a comment line."""
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of one part."""

    name: str
    part: str
    kind: Any
    """Its type hint."""
    value: Any
    help: str
    """The docstring under the field."""


def settings_of(parts: Parts) -> list[Setting]:
    """All settings, in the order of the parts and their fields."""
    return [setting for name, part in parts.items() for setting in _settings(name, part)]


def part_of(parts: Parts, kind: type[Part]) -> Part:
    """The part of a kind.

    Raises:
        TypeError: the method has no such part.
    """
    for part in parts.values():
        if isinstance(part, kind):
            return part
    raise TypeError(f"no part is a {kind.__name__}")


def to_toml(parts: Parts, title: str) -> str:
    """Every setting with its value and its help as a comment; `read_toml` reads it back.

    Args:
        title: the first line, as a comment.
    """
    lines = [f"# {title}"]
    for name, part in parts.items():
        lines += ["", f"# --- {name}: {_first_line(type(part))}"]
        for setting in _settings(name, part):
            lines += ["", *(f"# {line}" for line in textwrap.wrap(setting.help, WIDTH)), _assignment(setting)]
    return "\n".join(lines) + "\n"


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file without tables.

    Raises:
        BadInput: no such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror})", "check the path of --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} is not TOML: {error}", "start from the output of --show-config") from error


def read_pairs(texts: Sequence[str], parts: Parts) -> dict[str, Any]:
    """The values of texts such as `learning_rate=1e-4`; a value is read as TOML, or as plain text where text belongs.

    Raises:
        BadInput: no equals sign, an unknown key, a value of another type.
    """
    known = {setting.name: setting for setting in settings_of(parts)}
    values = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign:
            raise BadInput(f"--set {text[:60]!r} has no =", "give key=value, such as --set seed=1")
        values[name] = _read_value(value, _find(name, known))
    return values


def changed(parts: Parts, values: Mapping[str, Any]) -> dict[str, DataclassInstance]:
    """The parts with other values.

    Raises:
        BadInput: an unknown key (the nearest one is named), a value of another type, or one that its part refuses.
    """
    known = {setting.name: setting for setting in settings_of(parts)}
    new: dict[str, dict[str, Any]] = {name: {} for name in parts}
    for name, value in values.items():
        setting = _find(name, known)
        new[setting.part][name] = _checked(name, value, setting.kind)
    return {name: replace(part, **new[name]) for name, part in parts.items()}


def _settings(name: str, part: DataclassInstance) -> Iterator[Setting]:
    kinds, helps = get_type_hints(type(part)), field_docstrings(type(part))
    for each in fields(part):
        yield Setting(
            name=each.name,
            part=name,
            kind=kinds[each.name],
            value=getattr(part, each.name),
            help=helps.get(each.name, ""),
        )


@cache
def field_docstrings(kind: type) -> dict[str, str]:
    """The string under each annotated field of a class, and of those it is derived from; on one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[attr-defined]
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _assignment(setting: Setting) -> str:
    """TOML has no null: what is not set is written as a comment."""
    if setting.value is None:
        return f"# {setting.name} =   (not set)"
    return f"{setting.name} = {_toml(setting.value)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)


def _find(name: str, known: Mapping[str, Setting]) -> Setting:
    if name in known:
        return known[name]
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else "--show-config prints all settings"
    raise BadInput(f"unknown setting {name[:60]!r}", hint)


def _read_value(text: str, setting: Setting) -> Any:
    if not text and NoneType in _choices(setting.kind):
        return None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if _takes_text(setting.kind) and not isinstance(value, str) else value


def _takes_text(kind: Any) -> bool:
    return any(each is str or get_origin(each) is Literal for each in _choices(kind))


def _choices(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _checked(name: str, value: Any, kind: Any) -> Any:
    for each in _choices(kind):
        found = _as(value, each)
        if found is not None or (value is None and each is NoneType):
            return found
    raise BadInput(f"{name} = {value!r} is not {_told(kind)}", f"give {_told(kind)}")


def _as(value: Any, kind: Any) -> Any:
    """The value as one of a plain type; None where it is none."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if get_origin(kind) is tuple:
        return _as_tuple(value, get_args(kind))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is kind else None


def _as_tuple(value: Any, kinds: Sequence[Any]) -> tuple[Any, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    wanted = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
    found = tuple(_as(each, kind) for each, kind in zip(value, wanted, strict=False))
    return None if len(value) != len(wanted) or None in found else found


def _told(kind: Any) -> str:
    """A type in words."""
    told = []
    for each in _choices(kind):
        if get_origin(each) is Literal:
            told.append(f"one of {', '.join(map(str, get_args(each)))}")
        elif get_origin(each) is tuple:
            kinds = get_args(each)
            many = "" if kinds[-1] is Ellipsis else f"{len(kinds)} "
            told.append(f"a list of {many}values, each {_told(kinds[0])}")
        elif each is not NoneType:
            told.append(_KINDS[each])
    return " or ".join(told)
