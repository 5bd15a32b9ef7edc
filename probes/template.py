"""What may stand in the body of a request for something else, and what it becomes. Pure but for reading the prompts.

    {seq}               the arrival's number, from 0, over all classes
    {rand}              16 hexadecimal digits that the seed and that number fix
    {key}               one of the keys 0, 1, 2...: `keys` says which
    {prompt}            a line of the file of prompts: the lines are shuffled by the seed and taken in turn
    {context_tokens}    the tokens in the prompt, as the trace has them for this arrival
    {generated_tokens}  the tokens in the answer, likewise
    {context}           that many words as a stand-in for {context_tokens} tokens. Common English words, most of which
                        are one token to the usual tokenizers; how many they are exactly is for the model to say. Each
                        arrival's text begins at another word, so that no cache of prefixes serves it

Every other brace stands for itself. In a body that is JSON, text is escaped as JSON asks; and a string that is nothing
but "{context_tokens}" or "{generated_tokens}" becomes the bare number: `"max_tokens": "{generated_tokens}"` is sent as
`"max_tokens": 128`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from probes.errors import PlanError
from probes.seeds import Stream, stream

Fill = Callable[[int], bytes]
"""The value of a placeholder, by the arrival's number."""
FROM_PROMPTS = ("prompt",)
FROM_KEYS = ("key",)
FROM_TRACE = ("context_tokens", "generated_tokens", "context")
_NAMES = ("seq", "rand", *FROM_KEYS, *FROM_PROMPTS, *FROM_TRACE)
_PLACEHOLDER = re.compile(rf"\{{({'|'.join(_NAMES)})\}}")
# a JSON string of the placeholder alone: an escaped quote is inside of a string, and what a colon follows is a key
_BARE_NUMBER = re.compile(r'(?<!\\)"(\{(?:context|generated)_tokens\})"(?!\s*:)')
_TEXT_OF = 16384  # words; longer ones repeat
_WORDS = """the of and to in is that for it as was with be by on not he his but at are this have from or had an they
which one you were her all she there would their we him been has when who will more no if out so said what up its about
into than them can only other new some could time these two may then do first any my now such like our over man me even
most made after also did many before must through back years where much your way well down should because each just
those people how too little state good very make world still own see men work long get here between both life""".split()  # noqa: SIM905  # a list of strings would take a screen


def parts_of(body: str, *, is_json: bool) -> list[str]:
    """Split a body into fixed text and the names of placeholders, by turns; text comes first and last."""
    return _PLACEHOLDER.split(_BARE_NUMBER.sub(r"\1", body) if is_json else body)


def names_in(body: str) -> set[str]:
    """Return the names of the placeholders in a body."""
    return set(_PLACEHOLDER.findall(body))


def unfilled(body: str, *, prompts: bool, trace: bool, keys: bool = False) -> str:
    """Return why a placeholder of a body can't be filled, or ""."""
    for name in _PLACEHOLDER.findall(body):
        if name in FROM_PROMPTS and not prompts:
            return f"{{{name}}} needs a file of prompts; name it as prompts"
        if name in FROM_KEYS and not keys:
            return f"{{{name}}} needs to know of how many keys it is one; write their number as the load's keys"
        if name in FROM_TRACE and not trace:
            return f"{{{name}}} needs the token counts that only arrivals of process trace have"
    return ""


def seq_fill() -> Fill:
    """Return what fills {seq}."""
    return lambda seq: b"%d" % seq


def rand_fill(seed: int) -> Fill:
    """Return what fills {rand}: it looks random and is the same whenever the same load is repeated."""
    key = blake2b(b"%d" % seed).digest()
    return lambda seq: blake2b(b"%d" % seq, digest_size=8, key=key).hexdigest().encode()


def key_fill(key: Callable[[int], int]) -> Fill:
    """Return what fills {key}, by which key an arrival's number has."""
    return lambda seq: b"%d" % key(seq)


def prompt_fill(prompts: list[str], seed: int, *, is_json: bool) -> Fill:
    """Return what fills {prompt}; every prompt is encoded once."""
    order = stream(seed, Stream.PROMPTS).permutation(len(prompts)).tolist()
    encoded = [_text(prompts[index], is_json=is_json) for index in order]
    return lambda seq: encoded[seq % len(encoded)]


def number_fill(counts: Callable[[int], tuple[int, int]], which: int) -> Fill:
    """Return what fills {context_tokens} (0) or {generated_tokens} (1)."""
    return lambda seq: b"%d" % counts(seq)[which]


def context_fill(counts: Callable[[int], tuple[int, int]], seed: int) -> Fill:
    """Return what fills {context}: a piece of one text of random words, made beforehand."""
    words = [_WORDS[index] for index in stream(seed, Stream.PROMPTS).integers(len(_WORDS), size=_TEXT_OF).tolist()]
    starts = [0]
    for word in words * 2:
        starts.append(starts[-1] + len(word) + 1)
    once = (" ".join(words) + " ").encode()
    text = once * 2

    def fill(seq: int) -> bytes:
        rounds, rest = divmod(counts(seq)[0], _TEXT_OF)
        first = seq * 7919 % _TEXT_OF  # a prime, so that the starts of many arrivals in a row all differ
        piece = text[starts[first] : starts[first + rest]]
        return (piece if not rounds else text[starts[first] : starts[first + _TEXT_OF]] * rounds + piece)[:-1]

    return fill


def read_prompts(path: Path | str) -> list[str]:
    """Return the prompts of a file, one a line, empty lines left out. Raises PlanError."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    prompts = [line for line in text.split("\n") if line.strip()]
    if not prompts:
        raise PlanError(f"{path}: holds no prompt; write one a line")
    return prompts


def _text(prompt: str, *, is_json: bool) -> bytes:
    return (json.dumps(prompt, ensure_ascii=False)[1:-1] if is_json else prompt).encode()
