"""YAML text → `Configuration`, with the line and path of whatever is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from pentaflow.config import Configuration
from pentaflow.errors import ConfigurationError
from pentaflow.misplaced import Location, MisplacedError, nearest


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, and what YAML's own types cannot hold, with the line."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ComposerError(None, None, f"key {key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"{str(node.value)[:40]!r} is no {kind}", node.start_mark) from None


def parse(text: str, place: str, *, base: Path = Path()) -> Configuration:
    """Parse and check a YAML configuration.

    Args:
        text: the YAML document.
        place: what errors call it, normally the file's path.
        base: folder that relative paths in it are taken from.

    Raises:
        ConfigurationError: not YAML, an unknown key, a missing or wrong value, a name that nothing has.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        document = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{place}:{line}", f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(place, f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigurationError(place, "not a configuration: nested too deeply") from None
    if root is None or not isinstance(document, dict):
        raise ConfigurationError(place, "expected a mapping with the keys " + ", ".join(Configuration.model_fields))
    try:
        configuration = Configuration.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = first.get("ctx", {}).get("error")
        location = cause.location if isinstance(cause, MisplacedError) else first["loc"]
        path = _path_text(location)
        where = f"{place}:{_line_of(root, location)}" + (f": {path}" if path else "")
        raise ConfigurationError(where, _sentence(first["type"], first["msg"], location)) from None
    rebased: Configuration = _rebase(configuration, base)
    return rebased


def _rebase(value: Any, base: Path) -> Any:
    """A part of the configuration with its relative paths taken from `base`."""
    if isinstance(value, Path):
        return base / value
    if isinstance(value, tuple):
        items = tuple(_rebase(item, base) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, BaseModel):
        rebased = {name: _rebase(item, base) for name, item in value}
        changed = {name: item for name, item in rebased.items() if item is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    return value


def _path_text(location: Location) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":  # pydantic's mark for "the key itself is wrong"
            name = part if part.isprintable() else repr(part)
            text += f".{name}" if text else name
    return text


def _line_of(node: yaml.Node, location: Location) -> int:
    """The line of the deepest part of `location` that the document has; 1-based."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = found[-1][0].start_mark.line, found[-1][1]
        else:
            break
    return line + 1


def _sentence(kind: str, message: str, location: Location) -> str:
    if kind == "extra_forbidden":
        names = list(_fields_at(location[:-1]))
        return f"unknown key{nearest(str(location[-1]), names)}"
    if kind == "missing":
        return "required key is missing"
    return message.removeprefix("Value error, ")


def _fields_at(location: Location) -> Mapping[str, object]:
    """The fields of the model that stands at `location` in the schema."""
    model: type[BaseModel] = Configuration
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m), None)
