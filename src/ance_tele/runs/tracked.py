"""What a run logs to trackers besides its losses: the metrics of its checkpoints, forgetting, the final figures."""

from typing import Any

from ance_tele.runs.folder import Episode
from ance_tele.runs.inputs import RunInputs
from ance_tele.runs.training_set import TrainingSet
from ance_tele.store.manifests import read_manifest
from ance_tele.training.tracking import Tracking, chosen_trackers

# Of an episode, in the facts of its look back.
LEARNING = ("forgotten", "learned", "new_negatives", "training_mrr")


def tracking_of(training: TrainingSet, episode: Episode) -> Tracking:
    """Return where an episode is tracked: in the run's folder, behind the steps of all earlier episodes."""
    recipe, settings = episode.recipe, episode.recipe.settings()
    examples = training.examples(recipe.training.positives)
    first = sum(recipe.schedule(number, examples).steps for number in range(1, episode.number))
    shown = {"recipe": recipe.name, **{name: _plain(value) for name, value in settings.items()}}
    return Tracking(recipe.training.report_to, str(episode.folder.path / "tracking"), first, shown)


def track_figures(inputs: RunInputs, training: TrainingSet, last: int, final: dict[str, float] | None = None) -> None:
    """Log the metrics of all checkpoints up to ``last``, as far as they are new, and what their episodes forgot.

    Each stands at the last step of its episode; what an episode forgot is known only after the search of the next.
    """
    recipe, folder = inputs.recipe, inputs.folder
    if not chosen_trackers(recipe.training.report_to):
        return
    start = tracking_of(training, Episode(1, recipe, folder))
    with start.opened() as track:
        for number in range(last + 1):
            step = tracking_of(training, Episode(number + 1, recipe, folder)).first
            home = folder.checkpoint(number)
            measured, changed = read_manifest(home / "evaluation"), read_manifest(home / "dynamics.json")
            if measured is not None:
                track("evaluation", step, {f"eval_{name}": one for name, one in measured.facts["metrics"].items()})
            if changed is not None:
                known = {f"eval_{name}": changed.facts[name] for name in LEARNING if name in changed.facts}
                track("learning", step, known)
        if final:
            track("final", step, {f"test_{name}": value for name, value in final.items()})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
