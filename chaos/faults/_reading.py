"""What a sh script on the host prints, as the state that a fault changes and puts back.

Its output is the state: what it printed before is what it must print again, and the fuse on the host asks it too. The
text of a user goes to a shell of its own, so that nothing in it, a stray bracket or an `exit`, can end what stands
around it.
"""

from __future__ import annotations

from shlex import quote
from typing import Annotated

from pydantic import StringConstraints

from chaos.contracts import Output

Script = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern=r"^[^\x00]*$")]
"""Sh of a user's own."""

MOST = 4096
"""The most characters that may be a state: it stands in the undo, in the ledger and in messages."""


def question(script: str) -> Output:
    """Return the question; newlines at the end are no part of the answer."""
    return Output(script)


def answer(printed: str) -> str:
    """Return the state that was printed."""
    return printed.rstrip("\n")


def own_shell(script: str) -> str:
    """Return sh that runs a script in a shell of its own."""
    return f"sh -c {quote(script)}"


def reads(script: str, state: str) -> str:
    """Return the sh condition that a script prints this state."""
    return f'[ "$({script})" = {quote(state)} ]'
