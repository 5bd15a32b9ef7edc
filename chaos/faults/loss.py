"""loss: packets between a host and its peers are lost at random, by an nftables table of our own (nft(8)).

For kernels without netem, for what arrives (netem holds only what is sent), and for some peers or ports alone. The
table, and who is spared by it, is that of `chaos.faults._table`.

Each packet is drawn once, on its own: it goes to a chain that counts it and drops it where a random number from 0 to
10^9 - 1 lies below the share of 10^9 (`numgen random`). So a share is kept to 10^-9, and no loss depends on the one
before. The kernel scales 32 random bits to that range, which is off by less than 2^-32. A packet over loopback, where a
loopback address is a peer, is drawn on its way out and on its way in.

What is lost on its way in is lost as on a wire: nobody is told. What is lost on its way out is told to who sends, as
with any local filter: sending a datagram fails with EPERM, and TCP tries the segment again without taking the path to
be congested. Where the sender is to feel loss, lose what arrives at its peer, or use netem.
"""

from __future__ import annotations

from math import sqrt
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Dose, Need
from chaos.faults import _nft, _table
from chaos.faults._nft import Rule
from chaos.faults._table import Chains, Seen
from chaos.kernel import Flow
from chaos.units import Share

# a dry run: the kernel sees the rule and throws it away
_DRAWS = "echo 'table inet gameday_try { chain c { numgen random mod 2 < 1; }; }' | nft -c -f -"
_FAR = 5.0  # standard deviations: chance alone takes a sound dose there once in two million runs
_LOSE = "lose"


class Loss(_table.Crossing):
    """Lose packets at random between a host and its peers, or everybody."""

    kind: ClassVar[str] = "loss"
    example: ClassVar[str] = "{kind: loss, on: {group: workers, pick: 1}, for: 20s, share: 1%, peers: [gateway]}"
    release: ClassVar[str] = "a TCP flow that lost packets of its own may wait for its retransmission timeout"
    shade: ClassVar[str] = "#c9a227"
    needs: ClassVar[tuple[Need, ...]] = (_table.NFT, Need("nft numgen", _DRAWS, "linux-image-amd64"))

    share: Share = Field(description="of the packets, drawn one by one")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not 0 < self.chance < _nft.ODDS:
            raise ValueError("share: nftables draws 0.0000001% to 99.9999999%; for every packet there is partition")
        return self

    def asked(self) -> dict[str, float]:
        """The share."""
        return {"loss": self.share}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report the share of the packets seen that was dropped: none lost, or a share beyond chance, is no dose."""
        if not self.is_applied(before, now):
            return Dose({}, False, self.not_held)
        seen, dropped = (rule.packets for rule in (now.chains or {})[_LOSE])
        if not dropped:
            return Dose({"packets": float(seen), "dropped": 0.0}, False, f"no packet of {seen} was lost")
        loss, far = dropped / seen, _FAR * sqrt(self.share * (1 - self.share) / seen)
        why = "" if abs(loss - self.share) <= far + 1 / seen else f"{loss:.3%} of {seen} packets is no chance"
        return Dose({"loss": loss, "packets": float(seen), "dropped": float(dropped)}, not why, why)

    @property
    def chance(self) -> int:
        """The share, as nftables draws it."""
        return round(self.share * _nft.ODDS)

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        drawn = self.crossing(control, lambda way: self.matching(f"goto {_LOSE}", way))
        return {_LOSE: (Rule(""), Rule("drop", chance=self.chance)), **drawn}
