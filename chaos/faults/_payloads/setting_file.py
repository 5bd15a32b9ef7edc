"""Looks at one value in a file, or swaps it: look FILE HOW WHERE VALUE | swap FILE HOW WHERE FROM TO.

HOW is `key`: the file is JSON, and WHERE are names joined by dots; or `match`: WHERE is a regular expression with one
group that matches once, whose group is the value. A value is the very text in the file, and only that text is touched.

`look` prints `value` with it as a JSON string, or `wrong` and why it can't be VALUE. `swap` writes into the file as it
is, so its inode, owner, mode and attributes stay; whoever finds neither FROM nor TO leaves the file alone and ends
with 1.
"""

import json
import os
import re
import stat
import sys

MOST = 2**20
SPACE = re.compile(r"[ \t\n\r]*")
Span = tuple[int, int]


class Wrong(ValueError):
    """Why a file is not to be touched."""


def opened(file: str, flags: int) -> int:
    """Return a descriptor of a regular file that is no link, and not too large."""
    found = os.lstat(file)
    if stat.S_ISLNK(found.st_mode):
        raise Wrong(f"{file} is a link; name {os.path.realpath(file)}")
    if not stat.S_ISREG(found.st_mode) or os.path.realpath(file).startswith(("/proc/", "/sys/")):
        raise Wrong(f"{file} is no ordinary file")
    if found.st_size > MOST:
        raise Wrong(f"{file} has {found.st_size} bytes; at most {MOST} are read")
    return os.open(file, flags | os.O_NOFOLLOW)


def text_of(descriptor: int) -> str:
    """Return all of it; bytes that are no UTF-8 are kept as they are."""
    parts = iter(lambda: os.read(descriptor, MOST), b"")
    return b"".join(parts).decode("utf-8", "surrogateescape")


def space(text: str, at: int) -> int:
    """Return where the space from a place on ends."""
    found = SPACE.match(text, at)
    return found.end() if found else at


def members(text: str, at: int) -> "dict[str, Span]":
    """Return where the members of the JSON object or list that begins there stand, by name or number."""
    found = {}  # type: dict[str, Span]
    closes, at = {"{": "}", "[": "]"}.get(text[at], ""), space(text, at + 1)
    parsed = json.JSONDecoder().raw_decode
    while closes and text[at] != closes:
        name = str(len(found))
        if closes == "}":
            name, at = parsed(text, at)
            at = space(text, space(text, at) + 1)
        end = parsed(text, at)[1]
        if name in found:
            raise Wrong(f"{name!r} is there twice")
        found[name] = (at, end)
        at = space(text, end)
        at = space(text, at + 1) if text[at] == "," else at
    return found


def by_key(text: str, key: str) -> Span:
    """Return where the value stands that has this key in a JSON document."""
    json.loads(text)
    at = space(text, 0)
    span = (at, len(text))
    for name in key.split("."):
        inside = members(text, span[0])
        if name not in inside:
            raise Wrong(f"there is no {name!r}; there are: {', '.join(inside) or 'none'}")
        span = inside[name]
    return span


def by_match(text: str, pattern: str) -> Span:
    """Return where the group of a regular expression stands that must match once; ^ and $ are a line's."""
    found = [match.span(1) for match in re.finditer(pattern, text, re.MULTILINE)]
    if len(found) != 1 or found[0][0] < 0:
        raise Wrong(f"{pattern!r} matches {len(found)} times; it must match once, with its group")
    return found[0]


def located(text: str, how: str, where: str) -> "tuple[Span, str]":
    """Return where the value stands, and what it is."""
    span = by_key(text, where) if how == "key" else by_match(text, where)
    return span, text[slice(*span)]


def spliced(text: str, span: Span, how: str, where: str, value: str) -> str:
    """Return the text with another value, which is found there again."""
    changed = text[: span[0]] + value + text[span[1] :]
    try:
        found = located(changed, how, where)[1]
    except ValueError as error:
        raise Wrong(f"with {value!r} it would not be found again: {error}") from error
    if found != value:
        raise Wrong(f"with {value!r} it would be found as {found!r}")
    return changed


def look(file: str, how: str, where: str, value: str) -> str:
    """Return the value that is there, which could be replaced."""
    descriptor = opened(file, os.O_RDONLY)
    try:
        text = text_of(descriptor)
    finally:
        os.close(descriptor)
    span, found = located(text, how, where)
    found.encode("utf-8")
    spliced(text, span, how, where, value)
    return found


def swap(file: str, how: str, where: str, former: str, value: str) -> None:
    """Write the value where the former one is; harmless where it is there."""
    descriptor = opened(file, os.O_RDWR)
    try:
        text = text_of(descriptor)
        span, found = located(text, how, where)
        if found == value:
            return
        if found != former:
            raise Wrong(f"somebody has set {found!r}, which is neither {former!r} nor {value!r}: it is left alone")
        data = spliced(text, span, how, where, value).encode("utf-8", "surrogateescape")
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], written)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    # what argv holds is text of the locale, and the file's is UTF-8
    task, *words = [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]
    try:
        if task == "look":
            sys.stdout.write("value " + json.dumps(look(*words)) + "\n")
        else:
            swap(*words)
    except (OSError, ValueError, IndexError) as error:
        if task != "look":
            sys.exit(f"{words[0]}: {error}")
        sys.stdout.write("wrong " + json.dumps(str(error)) + "\n")
