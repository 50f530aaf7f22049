"""Negatives of pools, and the pairs of them that a teacher scores, per training query: functions of a recipe."""

from ance_tele.mining.quota import quota
from ance_tele.settings import Recipe


def pools(recipe: Recipe) -> list[tuple[int, int]]:
    """Return the negatives of a query in each episode's pool: newly mined, and in all.

    Example:
        >>> from ance_tele.recipes import recipe
        >>> pools(recipe("ance-tele").with_settings(pool_per_source=30))
        [(60, 60), (60, 120), (60, 120)]
    """
    found, previous = [], 0
    for episode in range(1, recipe.episode.episodes + 1):
        drawn = quota(recipe.mining, episode, previous)
        previous = drawn.total
        found.append((sum(drawn.new.values()), previous))
    return found


def pool_pairs(recipe: Recipe) -> list[int]:
    """Return the pairs of a query that a teacher scores in each episode: its positive, and its pool.

    At most: a passage that several sources name is one pair. Positives and momentum are scored once, unless the teacher
    learns in between.

    Example:
        >>> from ance_tele.recipes import recipe
        >>> pool_pairs(recipe("ance-tele+teacher").with_settings(pool_per_source=30))
        [61, 60, 60]
    """
    learns = recipe.teaching.teacher_updates != "off"
    return [1 + total if learns or not number else new for number, (new, total) in enumerate(pools(recipe))]
