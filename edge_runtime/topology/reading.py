"""JSON and YAML of people's hands, in which no key is a duplicate."""

from __future__ import annotations

import json
from typing import Any

from ..errors import InputError


def decode_yaml(text: str) -> Any:
    """YAML as plain values; needs PyYAML, which a workstation has."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise InputError(
            "reading YAML needs PyYAML, which a device does not carry: "
            'pip install "ddnn-tf[train]", or give the topology as JSON'
        ) from error
    try:
        _check_keys(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _check_keys(node: Any) -> None:
    """A key of a YAML mapping that stands there twice: readers keep the last and say nothing."""
    lines: dict[str, int] = {}
    for part in node.value if node and isinstance(node.value, list) else ():
        key, value = part if isinstance(part, tuple) else (None, part)
        if key and isinstance(key.value, str):
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                raise ValueError(f"key {key.value!r} is a duplicate, in lines {first} and {line}")
            lines[key.value] = line
        _check_keys(value)


def decode_json(text: str) -> Any:
    """JSON as plain values."""
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is a duplicate in one object")
    return found
