"""t-SNE of a query, its positives and swinging negatives over all episodes (paper, Figure 6)."""

import numpy as np

# t-SNE is random; the same seed gives the same picture.
SEED = 42


def project(vectors: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Return a 2-D t-SNE embedding, fitted jointly to the vectors of all episodes, float64 [episodes, points, 2].

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
    # Norms change with training; rankings depend on directions.
    flat = vectors.reshape(count, dimension).astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    perplexity = min(30.0, (count - 1) / 3)
    fitted = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat)
    return np.asarray(fitted, dtype=np.float64).reshape(episodes, points, 2)
