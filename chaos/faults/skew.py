"""skew: what requests are shifts for a while, and not how many: to other classes, or to few hot keys.

The arrivals keep their moments and their numbers. `classes` are the weights meanwhile: cold requests become hot ones.
`share` and `hot` send that share of the requests to that part of the load's keys, 90 % to 20 % of them, and `zipf`
draws them by Zipf's law; `{key}` in a body stands for the key (`probes.keys`), all alike outside of the skew.

The same draw decides before, meanwhile and after, so a request whose class a skew leaves as it is is the very same.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from chaos.contracts import LoadChange
from chaos.errors import Misfit
from chaos.overlays import KeyLaw, LoadView, Overlay, Sent
from chaos.units import Share

_HOT = 0.2


class Skew(LoadChange):
    """Shift the mix of requests for a while: to other weights of the classes, or to few hot keys."""

    kind: ClassVar[str] = "skew"
    example: ClassVar[str] = "{kind: skew, at: 5s, for: 10s, share: 90%, hot: 20%}"
    release: ClassVar[str] = "the mix is back at once; caches are warm for the keys and classes that were hot"
    shade: ClassVar[str] = "#b279a2"

    classes: dict[str, float] = Field(
        default_factory=dict, description="weights meanwhile, by the class's name; 0 for those that are left out"
    )
    share: Share | None = Field(None, description="how much of the requests goes to the hot keys", gt=0)
    hot: Share = Field(_HOT, description="which part of the keys is hot", gt=0)
    zipf: float | None = Field(None, description="the exponent of Zipf's law that keys are drawn by", gt=0, le=10)

    @field_validator("classes")
    @classmethod
    def _are_weights(cls, classes: dict[str, float]) -> dict[str, float]:
        for name, weight in classes.items():
            if not 0 <= weight < 1e9:
                raise ValueError(f"the weight of {name} must be 0 or more; found {weight:g}")
        if classes and not any(classes.values()):
            raise ValueError("leaves no class out of which requests could come")
        return classes

    @field_validator("hot")
    @classmethod
    def _has_a_share(cls, hot: float, info: ValidationInfo) -> float:
        if info.data.get("share", 1.0) is None:
            raise ValueError("goes with share, and there is none")
        return hot

    @model_validator(mode="after")
    def _skews_something(self) -> Self:
        if not self.classes and self.share is None and self.zipf is None:
            raise ValueError("skews nothing; give classes, or share of the requests to the hot keys, or zipf")
        if self.share is not None and self.zipf is not None:
            raise ValueError("draws keys by share and by zipf; give one of them")
        return self

    def overlay(self, load: LoadView) -> Overlay:
        """Return the weights and the law of the keys."""
        for name in self.classes:
            if name not in load.classes:
                text = f"{name!r} is no class of the load (there are: {', '.join(load.classes)})"
                raise Misfit(("classes", name), text)
        if self._law and load.keys is None:
            at = "zipf" if self.share is None else "share"
            raise Misfit((at,), "no request is about a key; write {key} in a body, and how many there are as load.keys")
        weights = tuple(self.classes.get(name, 0.0) for name in load.classes) if self.classes else ()
        return Overlay(begin=load.begin, end=load.end, weights=weights, keys=self._law)

    def asked(self, load: LoadView) -> dict[str, float]:
        """Return the share of each class, and of the hot keys."""
        weights = self.classes or load.classes
        shares = {f"share_of_{name}": weights.get(name, 0.0) / sum(weights.values()) for name in load.classes}
        law = {"share_of_hot_keys": self.share, "zipf": self.zipf}
        return shares | {name: value for name, value in law.items() if value is not None}

    def achieved(self, sent: Sent) -> dict[str, float]:
        """Return the share of each class in what was sent; of keys, a recording keeps none."""
        return {f"share_of_{name}": count / max(1, sent.requests) for name, count in sent.classes.items()}

    @property
    def _law(self) -> KeyLaw | None:
        if self.zipf is not None:
            return KeyLaw(zipf=self.zipf)
        return KeyLaw(hot=self.hot, share=self.share) if self.share is not None else None
