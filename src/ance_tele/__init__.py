"""Train dense retrievers with teleportation negatives."""

__version__ = "0.1.0"
