"""How many negatives of each kind a query's pool gets (paper, Section 4, Appendix C.2)."""

from dataclasses import dataclass

from ance_tele.mining.config import MiningConfig
from ance_tele.store.plugins import plain_name


@dataclass(frozen=True)
class Quota:
    """Negatives per query: newly mined by source, and from earlier pools."""

    new: dict[str, int]
    momentum: int

    @property
    def total(self) -> int:
        """Target size of a query's pool."""
        return sum(self.new.values()) + self.momentum


def quota(config: MiningConfig, episode: int, previous: int = 0, forgotten: bool = False) -> Quota:
    """Return the number of negatives of each part, so that ``alpha`` and ``beta`` are shares of what is drawn.

    Newly mined are ``pool_per_source`` per source (twice as many for a single source); ``beta`` is the share of
    lookahead among query and lookahead negatives. Momentum gets the share ``alpha`` of the whole; if the previous pool
    is too small, the new part shrinks until the shares hold. With alpha = beta = 0.5 this is query : lookahead = 1 : 1
    and new : momentum = 1 : 1 (paper, Appendix C.2). ``forgotten`` queries have shares of their own, and of the two
    totals all queries take the smaller one.
    """
    sources = tuple(map(plain_name, config.sources_at(episode)))
    total = config.pool_per_source * max(2, len(sources))
    pair = [name for name in sources if name in ("query", "lookahead")]
    other = [name for name in sources if name not in pair]
    alpha = config.alpha_of(forgotten)
    momentum, new = _shared(total, previous, alpha)
    if config.momentum == "all":
        momentum, new = previous if alpha > 0 else 0, total
    elif (size := min(sum(_shared(total, previous, config.alpha_of(each))) for each in (False, True))) < momentum + new:
        momentum = round(size * alpha)
        new = size - momentum
    sizes = {name: new // len(sources) for name in other}
    rest = new - sum(sizes.values())
    if len(pair) == 2:
        sizes["lookahead"] = round(rest * config.beta_of(forgotten))
        sizes["query"] = rest - sizes["lookahead"]
    elif pair:
        sizes[pair[0]] = rest
    elif other:
        sizes[other[0]] += rest
    return Quota({name: sizes[name] for name in sources}, momentum)


def quota_at(config: MiningConfig, episode: int, forgotten: bool = False) -> Quota:
    """Return the quota of an episode whose earlier pools had their target sizes."""
    found, previous = Quota({}, 0), 0
    for number in range(1, episode + 1):
        found = quota(config, number, previous, forgotten)
        previous = quota(config, number, previous).total
    return found


def _shared(total: int, previous: int, alpha: float) -> tuple[int, int]:
    """Return momentum and newly mined, at most ``previous`` and ``total``, of which momentum is the share alpha."""
    if not previous or alpha <= 0:
        return 0, total
    if alpha >= 1:
        return previous, 0
    momentum = round(total * alpha / (1 - alpha))
    return (momentum, total) if momentum <= previous else (previous, min(total, round(previous * (1 - alpha) / alpha)))
