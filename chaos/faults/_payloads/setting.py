"""Reads or changes one value behind an HTTP endpoint: URL KEY READS METHOD [VALUE].

Without VALUE it prints the value at READS in the JSON that GET gives; with one it sends {KEY: VALUE} by METHOD, or, for
PUT, the whole document with that value changed. KEY and READS are names joined by dots; values are JSON.
"""

import json
import sys
import urllib.request
from typing import Any

TIMEOUT = 5.0


def ask(url: str, method: str, body: Any | None = None) -> bytes:
    """Return what the endpoint answers; no proxy is asked. An error status raises, with the answer's own words."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.request.HTTPError as error:
        said = error.read(300).decode("utf-8", "replace")
        raise ValueError(f"{method} was answered {error.code}: {said}") from error


def inside(document: Any, name: str) -> Any:
    """Return what stands under a name, or at a place in a list."""
    return document[int(name)] if isinstance(document, list) else document[name]


def read(url: str, reads: str) -> str:
    """Return the value as JSON."""
    found = json.loads(ask(url, "GET").decode())
    for name in reads.split("."):
        found = inside(found, name)
    return json.dumps(found, sort_keys=True)


def write(url: str, key: str, method: str, value: Any) -> None:
    """Send the value, in nothing but itself or in the whole document."""
    *outer, last = key.split(".")
    document = json.loads(ask(url, "GET").decode()) if method == "PUT" else {}
    place = document
    for name in outer:
        place = inside(place, name) if method == "PUT" else place.setdefault(name, {})
    place[int(last) if isinstance(place, list) else last] = value
    ask(url, method, document)


if __name__ == "__main__":
    url, key, reads, method = sys.argv[1:5]
    try:
        if len(sys.argv) == 5:
            sys.stdout.write(read(url, reads) + "\n")
        else:
            write(url, key, method, json.loads(sys.argv[5]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(f"{url} {key}: {type(error).__name__}: {error}")
