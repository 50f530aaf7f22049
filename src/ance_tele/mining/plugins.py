"""Sources and filters by name: the built-in ones, and functions of the user's own, named ``module:function``."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ance_tele.console.errors import UserError
from ance_tele.mining.config import THRESHOLDS, MiningConfig
from ance_tele.mining.declared import Source, shown, undeclared
from ance_tele.mining.sources import MINED, SOURCES
from ance_tele.store.plugins import code_hash, is_plugin, load_plugin, plain_name

if TYPE_CHECKING:
    import numpy as np

    from ance_tele.mining.candidates import CandidateLists
    from ance_tele.mining.context import MiningContext

# Gets the context, the name of a source and its lists; returns which candidates are kept, bool [n].
Filter = Callable[["MiningContext", str, "CandidateLists"], "np.ndarray"]

# What manifests of candidates name beside the sources.
RESERVED = ("same_text", "answer_bearing", "filtered", "recall_around", "sources")


def resolve_source(name: str) -> Source:
    """Return a source by its name, or by ``module:function``.

    Raises:
        UserError: There is none of that name; or the function has the name of a built-in source.
    """
    if name in MINED:
        return SOURCES[name]
    if not is_plugin(name):
        raise UserError(
            f"There is no source of negatives '{name}'; there are: {', '.join(MINED)}, and functions of your own as "
            "module:function."
        )
    own = _own_name(name, (*SOURCES, *RESERVED))
    found = load_plugin(name, "source of negatives")
    return replace(found, name=own) if isinstance(found, Source) else undeclared(found, own)


def resolve_filter(name: str) -> Filter:
    """Return a filter by ``module:function``.

    Raises:
        UserError: There is no such function; or it has the name of a built-in filter.
    """
    _own_name(name, (*THRESHOLDS, *RESERVED))
    return load_plugin(name, "filter")


def _own_name(name: str, taken: tuple[str, ...]) -> str:
    own = plain_name(name)
    if own in taken:
        raise UserError(f"'{name}' must be called otherwise: '{own}' is the name of something else in a run folder.")
    return own


def load_all(config: MiningConfig) -> None:
    """Import every source and filter that settings name, so that what cannot be found is refused before a run begins.

    Raises:
        UserError: One cannot be found; or two have the same name.
    """
    for what, names in (("sources", every_source(config)), ("filters", config.filters)):
        own = [plain_name(name) for name in names]
        double = next((name for name in own if own.count(name) > 1), None)
        if double:
            raise UserError(f"{what} names two functions called '{double}'; call one of them otherwise.")
    for name in every_source(config):
        resolve_source(name)
    for name in config.filters:
        resolve_filter(name)


def every_source(config: MiningConfig) -> tuple[str, ...]:
    """Return all sources that settings name, each once."""
    return tuple(dict.fromkeys((*config.sources, *(config.first_sources or ()))))


def code_hashes(names: Iterable[str]) -> dict[str, str]:
    """Return the hash of the source code of each plug-in among sources, for manifests; {} where there is none."""
    return {name: code_hash(resolve_source(name).function) for name in names if is_plugin(name)}


def plugin_inputs(config: MiningConfig, episode: int) -> dict[str, Any]:
    """Return what manifests of an episode's candidates hold of plug-ins beside their names; {} without any."""
    hashes = code_hashes(config.sources_at(episode))
    hashes |= {name: code_hash(resolve_filter(name)) for name in config.filters}
    return {"code": hashes} if hashes else {}


def plugin_sources(config: MiningConfig) -> dict[str, dict[str, str]]:
    """Return title and colour of each source that is a plug-in, by name, for summaries; {} without any."""
    return shown(resolve_source(name) for name in every_source(config) if is_plugin(name))
