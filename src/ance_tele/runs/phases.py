"""The phases of a run in their order, for what shows them and what plans them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ance_tele.console.events import announce
from ance_tele.settings import Recipe

# What an episode's phases leave, in its folder.
MADE = {
    "mine": "candidates.parquet",
    "mix": "pool.parquet",
    "teach": "teacher_scores.parquet",
    "train": "model",
    "evaluate": "evaluation",
}

Phases = list[tuple[str, list[str]]]


def phases_of(recipe: Recipe) -> Phases:
    """Return the phases by where they are.

    Example:
        >>> import ance_tele as at
        >>> for phases in phases_of(at.recipe("ance-tele").with_settings(episodes=1, baselines=("zero-shot",))):
        ...     print(*phases)
        zero-shot ['evaluate']
        episode 1 ['mine', 'mix', 'train', 'evaluate']
        run ['analyse', 'report']
    """
    each = [name for name in MADE if name != "teach" or recipe.teaching.distils]
    phases: Phases = [("bm25", ["evaluate"])] if "bm25" in recipe.evaluation.baselines or recipe.lexical else []
    if not recipe.lexical:
        phases.append(("zero-shot", ["evaluate"]))
        phases += [(f"episode {number}", each) for number in range(1, recipe.episode.episodes + 1)]
    return [*phases, ("run", ["analyse", "report"])]


def artefact_of(run: Path, where: str, phase: str) -> Path:
    """Return what a phase leaves in a run folder."""
    folder = {"bm25": "bm25", "zero-shot": "episode-0", "run": ""}.get(where, where.replace(" ", "-"))
    name = {"analyse": "analysis", "report": "report.html"}.get(phase) or MADE[phase]
    return run / folder / name


@contextmanager
def announced(recipe: Recipe) -> Iterator[None]:
    """Announce the phases of a run to a display of progress, while the block carries them out."""
    announce("phases", phases=phases_of(recipe))
    try:
        yield
    finally:
        announce("phases", phases=[])
