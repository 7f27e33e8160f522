"""What a cache of KV blocks decides by."""

from dataclasses import dataclass

from ...rtl.cache.visit import POLICIES
from ...rtl.check import check_count
from ..errors import InputError

__all__ = ["CacheRules"]


@dataclass(frozen=True)
class CacheRules:
    """A policy and its sizes. A slot holds a block pair: K and V of a block.

    Members
    -------
    policy : str
        ``liveness`` admits where a slot is free, and frees it with the block's last job
        (FAST-Prefill, Sparse Attention Unit). ``next-use`` evicts, too: the block that comes again
        last. ``lru`` evicts the one whose last visit is oldest. ``none`` keeps nothing.
    hot, cold : int
        Slots of the two tiers: numbers 0 to ``hot - 1``, and those behind.
    threshold : int
        Jobs; a block that has more of them left when it is admitted is for the hot tier.
    lookahead : int
        Visits whose blocks are granted ahead of use: so many of the latest are pinned.
    horizon : int or None
        Windows in which the next use of a block is known; ``None``: all.

    Raises
    ------
    TypeError, ValueError
        When a value is none of these.
    """

    policy: str = "next-use"
    hot: int = 0
    cold: int = 0
    threshold: int = 0
    lookahead: int = 1
    horizon: int | None = 16

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"Policy must be one of {', '.join(POLICIES)}, not {self.policy!r}")
        for name in ("hot", "cold", "threshold"):
            value = getattr(self, name)
            message = f"{name.capitalize()} must be an integer of 0 or more, not {value!r}"
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(message)
            if value < 0:
                raise InputError(message)
        check_count("Lookahead", self.lookahead)
        if self.horizon is not None:
            check_count("Horizon", self.horizon)
        if self.policy != "none" and not self.slots:
            raise InputError(
                f"Hot and cold must be 1 slot or more together with policy {self.policy!r}, not 0; "
                "use policy 'none' without any"
            )

    @property
    def slots(self) -> int:
        """Slots of both tiers."""
        return self.hot + self.cold

    def tier(self, slot: int) -> str:
        """Return which tier a slot belongs to."""
        return "hot" if slot < self.hot else "cold"
