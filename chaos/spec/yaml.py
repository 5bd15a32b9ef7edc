"""YAML to plain values, keeping the place of every key and item.

Scalars are read by the core schema of YAML 1.2, as people expect them: `on` and `no` are text, `1:30` is text, `1e3` is
a number, a date is text. Keys are always text. Anchors, aliases and `<<` work; tags do not.

PyYAML gives the events and no more. Its own composer would read booleans by YAML 1.1, let the last of two equal keys
win, and unfold an alias bomb; the one written in C ends the interpreter on deep nesting and words its errors
differently. So values are composed here: nesting and unfolded size are bounded before anything is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import yaml

from chaos.errors import Mistakes, Place
from chaos.spec.places import Document, Mistake, Path

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 50
MAX_VALUES = 100_000
MERGE = "<<"

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,100}|0x[0-9a-fA-F]{1,100}|0o[0-7]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_yaml(path: FilePath, error: type[Mistakes]) -> Document:
    """Read one file of one document. Raises `error` for a file that is absent, too large, empty or no YAML."""
    try:
        return _parse(_read_text(path), str(path))
    except _Unreadable as wrong:
        raise error([str(wrong.mistake)]) from wrong


def _parse(text: str, file: str) -> Document:
    composer = _Composer(file)
    root = composer.compose(_events(text, file))
    places: dict[Path, Place] = {(): root.place}
    return Document(file, _unfold(root, (), places), places, tuple(composer.mistakes))


class _Unreadable(Exception):
    """A mistake after which nothing more can be read."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.mistake = Mistake(place, (), text)


def _read_text(path: FilePath) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise _Unreadable(Place(str(path)), f"not UTF-8: {error.reason}") from error
    except (OSError, ValueError) as error:
        raise _Unreadable(Place(str(path)), f"can't be read: {getattr(error, 'strerror', error)}") from error
    if len(text) > MAX_CHARACTERS:
        raise _Unreadable(Place(str(path)), f"longer than the {MAX_CHARACTERS} characters that are read")
    return text


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    """Yield PyYAML's events, its errors made ours."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
                raise _Unreadable(_place(file, event.start_mark), "half of a surrogate pair is no character")
            yield event
    except yaml.MarkedYAMLError as error:
        context = f" ({error.context})" if error.context else ""
        raise _Unreadable(_place(file, error.problem_mark), f"not YAML: {error.problem}{context}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        raise _Unreadable(place, f"not YAML: the character U+{int(error.character):04X} is not allowed") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets them through for "\U99999999"
        raise _Unreadable(Place(file, 1, 1), f"not YAML: {error}") from error


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)


@dataclass(frozen=True, slots=True)
class _Node:
    """A value that may stand in several places by aliases: `size` values when unfolded, `height` levels of nesting."""

    place: Place
    value: Any
    children: tuple[_Child, ...] = ()
    size: int = 1
    height: int = 0


class _Child(NamedTuple):
    """What stands in a mapping or a list, under which key, and where."""

    key: str | int
    place: Place
    node: _Node


class _Composer:
    """Makes one tree of nodes of the events."""

    def __init__(self, file: str) -> None:
        self.mistakes: list[Mistake] = []
        self._file = file
        self._anchors: dict[str, _Node] = {}

    def compose(self, events: Iterator[yaml.Event]) -> _Node:
        root = None
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                if root is not None:
                    raise self._unreadable(event, "a second document; write one experiment or inventory a file")
                root = self._node(event, events, ())
        if root is None:
            raise _Unreadable(Place(self._file, 1, 1), "the file is empty")
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        if len(path) > MAX_DEPTH:
            raise self._unreadable(event, f"nested deeper than {MAX_DEPTH} levels")
        node = self._fresh(event, events, path)
        if node.size > MAX_VALUES or node.height > MAX_DEPTH:
            raise self._unreadable(
                event, f"with its aliases this is more than {MAX_VALUES} values or {MAX_DEPTH} levels"
            )
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: yaml.AliasEvent) -> _Node:
        if event.anchor not in self._anchors:
            raise self._unreadable(event, f"no anchor &{event.anchor} ends before the alias *{event.anchor}")
        return self._anchors[event.anchor]

    def _fresh(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> _Node:
        place = _place(self._file, event.start_mark)
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            self.mistakes.append(Mistake(place, path, "a tag is not allowed here; write the plain value"))
        if isinstance(event, yaml.ScalarEvent):
            return _Node(place, self._scalar(event, place, path))
        if isinstance(event, yaml.SequenceStartEvent):
            return _collection(place, [], list(self._items(events, path)))
        return _collection(place, {}, list(self._entries(events, path).values()))

    def _items(self, events: Iterator[yaml.Event], path: Path) -> Iterator[_Child]:
        index = 0
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            node = self._node(event, events, (*path, index))
            yield _Child(index, _place(self._file, event.start_mark), node)
            index += 1

    def _entries(self, events: Iterator[yaml.Event], path: Path) -> dict[str | int, _Child]:
        entries: dict[str | int, _Child] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._unreadable(event, "a key must be plain text; found a list, a mapping or an alias")
            key, place = event.value, _place(self._file, event.start_mark)
            node = self._node(next(events), events, (*path, key))
            if key in entries:
                text = f"this key stands twice; it stood before at line {entries[key].place.line}"
                self.mistakes.append(Mistake(place, (*path, key), text))
            else:
                entries[key] = _Child(key, place, node)
        return self._merged(entries, path)

    def _merged(self, entries: dict[str | int, _Child], path: Path) -> dict[str | int, _Child]:
        """Take `<<` in: what stands in the mapping itself wins, then the earlier of several merged ones."""
        if MERGE not in entries:
            return entries
        _, place, source = entries.pop(MERGE)
        sources = [child.node for child in source.children] if isinstance(source.value, list) else [source]
        for node in sources:
            if not isinstance(node.value, dict):
                self.mistakes.append(Mistake(place, (*path, MERGE), "takes a mapping, or a list of mappings"))
            else:
                entries = {child.key: child for child in node.children} | entries
        return entries

    def _scalar(self, event: yaml.ScalarEvent, place: Place, path: Path) -> Any:
        plain = event.implicit[0] and event.style in (None, "")
        value = _resolve(event.value) if plain else event.value
        if isinstance(value, float) and not math.isfinite(value):
            self.mistakes.append(Mistake(place, path, f"{event.value} is not a finite number"))
            return 0.0
        return value

    def _unreadable(self, event: yaml.Event, text: str) -> _Unreadable:
        return _Unreadable(_place(self._file, event.start_mark), text)


def _resolve(text: str) -> Any:
    """Return a plain scalar by the core schema (YAML 1.2.2, chapter 10.3)."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _collection(place: Place, empty: Any, children: list[_Child]) -> _Node:
    size = 1 + sum(child.node.size for child in children)
    height = 1 + max((child.node.height for child in children), default=0)
    return _Node(place, empty, tuple(children), size, height)


def _unfold(node: _Node, path: Path, places: dict[Path, Place]) -> Any:
    """Return a node as plain values, and note the place of everything in it."""
    if not isinstance(node.value, (list, dict)):
        return node.value
    values = {}
    for key, place, child in node.children:
        places[*path, key] = place
        values[key] = _unfold(child, (*path, key), places)
    return list(values.values()) if isinstance(node.value, list) else values
