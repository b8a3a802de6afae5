"""Documents from YAML or JSON files, and `name=value` arguments.

YAML is read by the core schema of YAML 1.2, so that `1e-5` is a number, and `no` and `2026-01-01` are texts.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import typer
import yaml


class _Core(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_PATTERNS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
for _name, (_pattern, _first) in _PATTERNS.items():
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def _int(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _float(loader: Any, node: Any) -> float:
    return float(loader.construct_scalar(node))


_Core.add_constructor("tag:yaml.org,2002:int", _int)
_Core.add_constructor("tag:yaml.org,2002:float", _float)


def read(path: str) -> Any:
    """A document from a file, `-` for standard input.

    Raises:
        BadParameter: it is not there, or neither YAML nor JSON.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return yaml.load(text, Loader=_Core)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise typer.BadParameter(f"{path} is neither YAML nor JSON: {error}") from None


def pairs(arguments: list[str]) -> dict[str, Any]:
    """`name=value` arguments; a value is JSON, or else a text.

    Raises:
        BadParameter: an argument without `=`.
    """
    found = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not of the form name=value")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
