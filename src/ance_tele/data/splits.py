"""Names of splits: train, dev, test; validation data are dev."""

from collections.abc import Iterable

_SAME = {"training": "train", "val": "dev", "valid": "dev", "validation": "dev", "eval": "dev"}


def split_name(word: str) -> str:
    """Return the normalised name of a split."""
    return _SAME.get(word.lower(), word)


def our_splits(names: Iterable[str]) -> dict[str, str]:
    """Return the normalised name of each split, unless another split has that name."""
    found = {name: name for name in names}
    taken = set(found)
    for name in found:
        if split_name(name) not in taken:
            found[name] = split_name(name)
            taken.add(found[name])
    return found


def split_order(split: str) -> tuple[int, str]:
    """Sort key of splits: train, dev and test first, then by name."""
    return {"train": 0, "dev": 1, "test": 2}.get(split, 3), split
