"""A query, its positives and swinging negatives on a plane, over all episodes (paper, Figure 6): an illustration."""

import numpy as np

# t-SNE stirs up what it is given; the same seed gives the same picture.
SEED = 42


def project(vectors: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Lay vectors of all episodes on one plane by t-SNE, fitted jointly, float64 [episodes, points, 2].

    Args:
        vectors: float32 [episodes, points, dimension]; the same points under each episode's model.
        seed: Of the fit.

    Raises:
        ValueError: There are fewer than four vectors in all.
    """
    from sklearn.manifold import TSNE

    episodes, points, dimension = vectors.shape
    count = episodes * points
    if count < 4:
        raise ValueError(f"t-SNE got {count} vectors; it needs at least 4.")
    # Lengths differ from model to model by training alone; what matters to a ranking is the direction.
    flat = vectors.reshape(count, dimension).astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    perplexity = min(30.0, (count - 1) / 3)
    fitted = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat)
    return np.asarray(fitted, dtype=np.float64).reshape(episodes, points, 2)
