"""What the study file expects at an entry, in words, read off its JSON Schema so that both always agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from search.study_file.document import KeyPath
from search.study_file.schema import study_json_schema

_TYPES = {"integer": "an integer", "number": "a finite number", "string": "a string", "boolean": "true or false"}
_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))


def schemas_at(path: KeyPath) -> list[dict[str, Any]]:
    """Return the schemas that the entry at `path` may follow; empty if the file has no such key, ``{}`` if any."""
    return _walked(path)[0]


def without_tags(path: KeyPath) -> KeyPath:
    """Return the entry's own path, without the names of chosen sections that pydantic adds (``pruner.asha.factor``)."""
    return _walked(path)[1]


def known_part(path: KeyPath) -> KeyPath:
    """Return as much of the path as the file may have; pydantic adds the names of a union's types (``literal``)."""
    return next(path[:length] for length in range(len(path), -1, -1) if schemas_at(path[:length]))


def _walked(path: KeyPath) -> tuple[list[dict[str, Any]], KeyPath]:
    nodes = list(_alternatives(study_json_schema()))
    entry: KeyPath = ()
    is_chosen = False
    for key in path:
        chosen = [] if is_chosen else [node for node in nodes if key == _tag(node)]
        is_chosen = bool(chosen)
        if chosen:
            nodes = chosen
            continue
        nodes = [below for node in nodes for child in _children(node, key) for below in _alternatives(child)]
        entry = (*entry, key)
    return nodes, entry


def _tag(node: dict[str, Any]) -> str | None:
    """Return the name by which a section is told from its alternatives."""
    name: str | None = node.get("properties", {}).get("name", {}).get("const")
    return name


def keys_at(path: KeyPath) -> list[str]:
    """Return the keys that the mapping at `path` may have, empty if they are free."""
    return list(dict.fromkeys(key for node in schemas_at(path) for key in node.get("properties", ())))


def is_mapping(path: KeyPath) -> bool:
    """Whether the entry at `path` may be a mapping."""
    return any(node.get("type") == "object" for node in schemas_at(path))


def words_at(path: KeyPath) -> list[str]:
    """Return the words that the entry at `path` may be, empty if it is no enumeration."""
    return [str(word) for node in schemas_at(path) for word in (*node.get("enum", ()), *_const(node))]


def expectation(path: KeyPath) -> str:
    """Return what the entry at `path` must be: ``an integer >= 1``, ``maximize or minimize``."""
    nodes = [node for node in schemas_at(path) if node.get("type") != "null"]
    words = [str(word) for node in nodes for word in (*node.get("enum", ()), *_const(node))]
    phrases = [_listed(words)] if words else []
    phrases += [_phrase(node) for node in nodes if "enum" not in node and "const" not in node]
    return " or ".join(dict.fromkeys(phrases)) or "left out"


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    resolved: dict[str, Any] = study_json_schema()["$defs"][reference.rsplit("/", 1)[-1]]
    return resolved


def _alternatives(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    node = _resolve(node)
    if "anyOf" in node:
        for each in node["anyOf"]:
            yield from _alternatives(each)
    else:
        yield node


def _children(node: dict[str, Any], key: str | int) -> Iterator[dict[str, Any]]:
    if not node:
        yield node
    elif isinstance(key, int):
        if "items" in node:
            yield node["items"]
    elif key in node.get("properties", {}):
        yield node["properties"][key]
    elif "additionalProperties" in node and node["additionalProperties"] is not False:
        rest = node["additionalProperties"]
        yield {} if rest is True else rest


def _const(node: dict[str, Any]) -> tuple[Any, ...]:
    return (node["const"],) if "const" in node else ()


def _phrase(node: dict[str, Any]) -> str:
    match node.get("type"):
        case "object":
            return _mapping_phrase(node)
        case "array":
            return _list_phrase(node)
        case list() as types:
            return _listed([_TYPES[name] for name in types])
        case "string" if node.get("minLength"):
            return "a string that is not empty"
        case str() as name:
            return _TYPES[name] + _bounds(node)
    return "plain data"


def _bounds(node: dict[str, Any]) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']} to {node['maximum']}"
    given = [f"{sign} {node[key]}" for key, sign in _BOUNDS if key in node]
    return f" {' and '.join(given)}" if given else ""


def _mapping_phrase(node: dict[str, Any]) -> str:
    if "examples" in node:
        example = ", ".join(f"{key}: {value}" for key, value in node["examples"][0].items())
        return f"a mapping such as {{{example}}}"
    if "properties" in node:
        return f"a mapping with the keys {', '.join(node['properties'])}"
    return "a mapping with at least one entry" if node.get("minProperties") else "a mapping"


def _list_phrase(node: dict[str, Any]) -> str:
    if node.get("maxItems") == 2:
        return "[low, high], two integers" if node["items"].get("type") == "integer" else "[low, high], two numbers"
    if "maxItems" in node:
        return f"a list of {node.get('minItems', 0)} to {node['maxItems']} entries"
    return "a list with at least one entry" if node.get("minItems") else "a list"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
