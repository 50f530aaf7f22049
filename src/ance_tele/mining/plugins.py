"""Sources and filters by name: built in, or user-defined as ``module:function``."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ance_tele.console.errors import UserError
from ance_tele.mining.config import THRESHOLDS, MiningConfig
from ance_tele.mining.source_type import Source
from ance_tele.mining.sources import MINED, SOURCES
from ance_tele.store.plugins import code_hash, is_plugin, load_plugin, plain_name

if TYPE_CHECKING:
    import numpy as np

    from ance_tele.mining.candidates import CandidateLists
    from ance_tele.mining.context import MiningContext

# Returns the mask of candidates to keep, bool [n], given the context, the name of a source and its lists.
Filter = Callable[["MiningContext", str, "CandidateLists"], "np.ndarray"]

# Keys of manifests next to the names of sources.
RESERVED = ("same_text", "answer_bearing", "filtered", "recall_around")

# Paul Tol's muted colours, which are colour-blind safe, for sources without a colour.
PALETTE = ("#117733", "#882255", "#332288", "#DDCC77", "#44AA99", "#CC6677", "#999933", "#AA4499")


def resolve_source(name: str) -> Source:
    """Return a source by its name, or by ``module:function``.

    Raises:
        UserError: There is no such source, or the function has the name of a built-in one.
    """
    if name in MINED:
        return SOURCES[name]
    if not is_plugin(name):
        raise UserError(
            f"There is no source of negatives '{name}'; there are: {', '.join(MINED)}, or a function of "
            "yours as module:function."
        )
    own = _own_name(name, (*SOURCES, *RESERVED))
    found = load_plugin(name, "source of negatives")
    return replace(found, name=own) if isinstance(found, Source) else Source(own, own.replace("_", " "), None, found)


def resolve_filter(name: str) -> Filter:
    """Return a filter by ``module:function``.

    Raises:
        UserError: There is no such function, or it has the name of a built-in filter.
    """
    _own_name(name, (*THRESHOLDS, *RESERVED))
    return load_plugin(name, "filter")


def _own_name(name: str, taken: tuple[str, ...]) -> str:
    own = plain_name(name)
    if own in taken:
        raise UserError(f"'{name}' must be called otherwise: '{own}' is the name of something else in a run folder.")
    return own


def load_all(config: MiningConfig) -> None:
    """Import all sources and filters of the settings, so that errors show before a run begins.

    Raises:
        UserError: One is not found, or has no source code; or two have the same name.
    """
    for what, names in (("sources", every_source(config)), ("filters", config.filters)):
        own = [plain_name(name) for name in names]
        double = next((name for name in own if own.count(name) > 1), None)
        if double:
            raise UserError(f"{what} names two functions called '{double}'; call one of them otherwise.")
    functions = [resolve_source(name).function for name in every_source(config) if is_plugin(name)]
    for function in (*functions, *_filters(config).values()):
        code_hash(function)  # remembered, so that editing a file during a run is seen by the next run


def every_source(config: MiningConfig) -> tuple[str, ...]:
    """Return all sources of the settings, without repeats."""
    return tuple(dict.fromkeys((*config.sources, *(config.first_sources or ()))))


def plugin_inputs(config: MiningConfig, episode: int) -> dict[str, Any]:
    """Return the inputs of an episode's candidates for plug-ins: hashes of their code; {} without plug-ins."""
    functions = {name: resolve_source(name).function for name in config.sources_at(episode) if is_plugin(name)}
    hashes = {name: code_hash(one) for name, one in {**functions, **_filters(config)}.items()}
    return {"code": hashes} if hashes else {}


def plugin_sources(config: MiningConfig) -> dict[str, dict[str, str]]:
    """Return title and colour of each user-defined source, for files that are read without its module.

    A source without a colour gets an unused one of the palette.
    """
    sources = [resolve_source(name) for name in every_source(config) if is_plugin(name)]
    free = iter([colour for colour in PALETTE if colour not in {one.colour for one in sources}])
    return {one.name: {"title": one.title, "colour": one.colour or next(free, PALETTE[0])} for one in sources}


def _filters(config: MiningConfig) -> dict[str, Filter]:
    return {name: resolve_filter(name) for name in config.filters}
