"""Fingerprints: sha-256 of values and files."""

import hashlib
import json
from pathlib import Path


def fingerprint(value: object) -> str:
    """Return the sha-256 (hex) of a JSON-serialisable value, independent of the order of keys."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha-256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
