"""Both ways to and from a netem (netlink's bytes, tc's words and JSON) keep what was asked."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chaos.faults.netem import Netem
from chaos.kernel import Link, Option, Qdisc
from chaos.targets import _netem, _nla, _tc
from chaos.units import SI

TIMES = st.integers(1, 4_000_000).map(lambda us: us / 1e6)  # tc counts in µs
SHARES = st.floats(1e-6, 1.0)
RATES = st.integers(1, 10**12).map(float)  # bytes/s, beyond the 32 bits of the old field
_NAMES = {"loss": "loss-random"}


@st.composite
def options(draw: st.DrawFn) -> dict[str, Option]:
    """The options of a Netem that validates, as it would plant them."""
    given: dict[str, Any] = {}
    if draw(st.booleans()):
        given["delay"] = SI(draw(TIMES))
        given |= {"jitter": SI(draw(TIMES))} if draw(st.booleans()) else {}
    if "jitter" in given and draw(st.booleans()):
        given["delay_correlation"] = SI(draw(SHARES))
    for name in ("loss", "duplicate", "corrupt", *(["reorder"] if "delay" in given else [])):
        if draw(st.booleans()):
            given[name] = SI(draw(SHARES))
            given |= {f"{name}_correlation": SI(draw(SHARES))} if draw(st.booleans()) else {}
    if not given or draw(st.booleans()):
        given["rate"] = SI(draw(RATES))
    if "reorder" in given and draw(st.booleans()):
        given["gap"] = draw(st.integers(1, 1000))
    given["limit"] = draw(st.integers(1, 2**32 - 1))
    return Netem(interface="eth0", **given).options(None)


def is_what_was_asked(asked: dict[str, Option], found: dict[str, Option]) -> bool:
    """What the fault itself takes for the same."""
    given = {name: value if name in ("gap", "limit") else SI(float(value)) for name, value in asked.items()}
    fault = Netem.model_validate({"interface": "eth0", **given})
    link = Link("eth0", True, (Qdisc("netem", "c4a6:", options=found),))
    return fault.is_applied(None, type("Seen", (), {"link": link})())  # type: ignore[arg-type]


@given(options())
def test_bytes_and_back(asked: dict[str, Option]) -> None:
    found = _netem.decode(_netem.encode(asked))
    assert found.keys() == asked.keys()
    for name, value in asked.items():
        assert abs(float(found[name]) - float(value)) <= {"delay": 1e-9, "jitter": 1e-9}.get(name, 2**-32), name
    assert is_what_was_asked(asked, found)


@given(options())
def test_attributes_are_aligned_and_whole(asked: dict[str, Option]) -> None:
    raw = _netem.encode(asked)
    assert len(raw) % 4 == 0
    parts = list(_nla.unpack(raw[24:]))
    assert sum((len(payload) + 7) & ~3 for _, payload in parts) == len(raw) - 24
    assert len({number for number, _ in parts}) == len(parts)


@given(options())
def test_words_and_back(asked: dict[str, Option]) -> None:
    found = _tc.netem_options(tc_would_print(_tc.netem_words(asked)))
    assert found.keys() == asked.keys()
    assert is_what_was_asked(asked, found)


def tc_would_print(words: list[str]) -> dict[str, Any]:
    """What `tc -j qdisc show` of iproute2 6.1 prints of a netem that was made with these words."""
    printed: dict[str, Any] = {"gap": 0}
    rest = iter(words)
    word = next(rest, None)
    while word is not None:
        numbers = []
        name = word
        for word in rest:
            if not word[0].isdigit():
                if word == "random":
                    continue
                break
            numbers.append(word)
        else:
            word = None
        printed |= _printed(name, numbers)
    return printed


def _printed(name: str, numbers: list[str]) -> dict[str, Any]:
    if name in ("limit", "gap"):
        return {name: int(numbers[0])}
    if name == "rate":
        return {"rate": {"rate": int(numbers[0].removesuffix("bit")) // 8}}
    if name == "delay":
        delay, jitter, *_ = [*(_six(int(n.removesuffix("us")) / 1e6) for n in numbers if n.endswith("us")), 0]
        correlation = next((_six(float(n[:-1]) / 100) for n in numbers if n.endswith("%")), 0)
        return {"delay": {"delay": delay, "jitter": jitter, "correlation": correlation}}
    shares = [_six(float(n.removesuffix("%")) / 100) for n in numbers]
    return {_NAMES.get(name, name): {name: shares[0], "correlation": [*shares, 0][1]}}


def _six(value: float) -> float:
    return float(f"{value:g}")
