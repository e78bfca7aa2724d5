"""YAML text to plain data and back: safe, with the line of every entry.

The text is read as YAML 1.2's core schema has it, like JSON: only ``true`` and ``false`` are booleans (so the choices
``on``, ``off``, ``yes``, ``no`` stay strings), ``1e-5`` is a number, ``010`` is ten, ``12:30`` and dates are strings.
Anchors, aliases and merge keys (``<<``) work, within bounds; tags beyond the core schema are refused, so that no file
can make Python objects.

Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from search.errors import StudyDefinitionError, StudyNotFoundError
from search.study_file.document import MAX_DEPTH, MAX_ENTRIES, Document, KeyPath, dotted, shown

MAX_FILE_BYTES = 1_000_000

_TAG = "tag:yaml.org,2002:"
_PATTERNS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


class _CoreLoader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes nodes and constructs nothing."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0
        self._n_nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        self._n_nodes += 1
        if self._depth > MAX_DEPTH or self._n_nodes > MAX_ENTRIES:
            raise yaml.MarkedYAMLError(
                problem=f"a study file may have {MAX_ENTRIES} entries and {MAX_DEPTH} levels, but has more",
                problem_mark=self.get_mark(),
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _CoreDumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or 1.2 readers would take for something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    # Other Unicode line ends are line ends to YAML 1.1 readers: only the quoted, escaped style keeps them.
    style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_CoreDumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _PATTERNS:
    for _class in (_CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_document(file: Path) -> Document:
    """Read a study file.

    Raises:
        StudyNotFoundError: If there is no such file.
        StudyDefinitionError: If it cannot be read, is larger than `MAX_FILE_BYTES`, is no UTF-8 text, or is no single
            YAML mapping within the bounds above.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise StudyNotFoundError(f"{file}: there is no such file.") from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise StudyDefinitionError(f"the study file cannot be read: {reason}.", file=file) from None
    if len(content) > MAX_FILE_BYTES:
        raise StudyDefinitionError(
            f"a study file may have {MAX_FILE_BYTES} bytes, but this one has more; is it a study file?", file=file
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyDefinitionError(
            f"a study file must be UTF-8 text, but got the byte {content[error.start]:#04x} at position {error.start}.",
            file=file,
            line=content[: error.start].count(b"\n") + 1,
        ) from None
    return parse_document(text, file=file)


def parse_document(text: str, *, file: Path | None = None) -> Document:
    """Parse YAML text whose top level must be a mapping.

    Raises:
        StudyDefinitionError: See `read_document`.
    """
    value, lines = parse_value(text, file=file)
    if not isinstance(value, dict):
        if value is None:
            message = "the study file is empty; it must hold a study (`zeroin init NAME` writes one to start from)."
        else:
            message = f"a study file must be a mapping of keys such as `study: digits`, but got {shown(value)}."
        raise StudyDefinitionError(message, file=file, line=lines.get((), 1))
    return Document(plain=value, file=file, lines=lines)


def parse_value(text: str, *, file: Path | None = None) -> tuple[Any, dict[KeyPath, int]]:
    """Parse YAML text of any one value.

    Returns:
        The value as plain data, and the line of every entry in it.

    Raises:
        StudyDefinitionError: If it is no YAML, has several documents, or breaks the bounds above.
    """
    try:
        loader = _CoreLoader(text)
        node = loader.get_node() if loader.check_node() else None
        second = loader.get_node() if loader.check_node() else None
        if second is not None:
            raise yaml.MarkedYAMLError(
                problem="a second document begins here, and only one is read",
                problem_mark=second.start_mark,
            )
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except ReaderError as error:
        raise StudyDefinitionError(
            f"a study file must be text, but got the character {chr(error.character)!r} at position {error.position}.",
            file=file,
            line=text[: error.position].count("\n") + 1,
        ) from None
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF" in a quoted string
        line = loader.get_mark().line + 1
        raise StudyDefinitionError(
            f"must be valid YAML, but got an escape that is no character: {error}.", file=file, line=line
        ) from None
    if node is None:
        return None, {}
    converter = _Converter(file)
    return converter.convert(node, ()), converter.lines


def to_yaml(plain: object) -> str:
    """Return plain data as YAML that any reader understands alike; keys keep their order."""
    return yaml.dump(plain, Dumper=_CoreDumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: Path | None) -> StudyDefinitionError:
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    rows = text.splitlines()
    got = shown(rows[mark.line].strip()) if mark is not None and mark.line < len(rows) else "the end of the text"
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    hint = " YAML is indented with spaces, not tabs." if "'\\t'" in problem else ""
    return StudyDefinitionError(f"must be valid YAML, but got {got}: {problem}.{hint}", file=file, line=line)


class _Converter:
    """Turns composed nodes into plain data; aliases are copied out, each copy counted."""

    def __init__(self, file: Path | None) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._file = file
        self._n_entries = 0
        self._open: set[int] = set()

    def convert(self, node: Node, path: KeyPath) -> Any:
        self._n_entries += 1
        self.lines.setdefault(path, node.start_mark.line + 1)
        if self._n_entries > MAX_ENTRIES or len(path) > MAX_DEPTH:
            message = f"with its aliases expanded, a study may have {MAX_ENTRIES} entries and {MAX_DEPTH} levels"
            raise self._error(node, path, f"{message}, but has more.")
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise self._error(node, path, "an alias must not contain itself, but this one does.")
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, path)
            if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        raise self._error(node, path, _bad_tag(node.tag))

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        own: dict[str, Any] = {}
        key_lines: dict[str, int] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged.extend(value_node.value if isinstance(value_node, SequenceNode) else [value_node])
                continue
            key = self._key(key_node, path)
            line = key_node.start_mark.line + 1
            if key in own:
                raise self._error(
                    key_node,
                    (*path, key),
                    f"each key must be there once, but {key!r} is there again, after line {key_lines[key]}.",
                )
            key_lines[key] = line
            self.lines[(*path, key)] = line
            own[key] = self.convert(value_node, (*path, key))
        for source in merged:
            own = {**self._merged(source, path, own.keys() | set()), **own}
        return own

    def _merged(self, node: Node, path: KeyPath, taken: set[str]) -> dict[str, Any]:
        """Read the mapping behind ``<<`` in the place of `path`; the keys there already win."""
        if not isinstance(node, MappingNode):
            raise self._error(node, path, "`<<` must name a mapping or a list of mappings, but does not.")
        if id(node) in self._open:
            raise self._error(node, path, "an alias must not contain itself, but this one does.")
        kept = [(key, value) for key, value in node.value if getattr(key, "value", None) not in taken]
        self._open.add(id(node))
        try:
            return self._mapping(MappingNode(node.tag, kept, node.start_mark, node.end_mark), path)
        finally:
            self._open.discard(id(node))

    def _key(self, node: Node, path: KeyPath) -> str:
        if not isinstance(node, ScalarNode):
            raise self._error(node, path, "keys must be strings, but got a list or a mapping as a key.")
        key = self._scalar(node, path)
        if not isinstance(key, str):
            raise self._error(node, path, f"keys must be strings, but got {shown(key)}; put it in quotes.")
        return key

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str" | "merge":
                    text.encode()
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
                case "float":
                    return self._float(text)
        except (ValueError, KeyError):
            raise self._error(node, path, f"must be {_MEANINGS[kind]}, but got {shown(text)}.") from None
        raise self._error(node, path, _bad_tag(node.tag))

    @staticmethod
    def _float(text: str) -> float:
        lowered = text.lower()
        value = float(lowered.replace(".inf", "inf").replace(".nan", "nan"))
        if math.isinf(value) and "inf" not in lowered:
            raise ValueError(text)
        return value

    def _error(self, node: Node, path: KeyPath, message: str) -> StudyDefinitionError:
        return StudyDefinitionError(message, key=dotted(path), file=self._file, line=node.start_mark.line + 1)


_MEANINGS = {
    "str": "valid Unicode text",
    "bool": "true or false",
    "int": "an integer of at most 4300 digits",
    "float": "a number that fits a 64-bit float",
}


def _bad_tag(tag: str) -> str:
    name = tag.replace(_TAG, "!!")
    return f"only plain YAML is read, for safety: remove the tag, but got {shown(name)}."
