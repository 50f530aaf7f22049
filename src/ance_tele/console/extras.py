"""The command that installs an extra, by how the package itself was installed."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlparse

NAME = "ance-tele"


def install(extra: str) -> str:
    """Return the command that installs an extra: of the folder, wheel or URL that the package came from, if any.

    What pip keeps of that (direct_url.json, PEP 610) is missing after an installation from an index.
    """
    try:
        kept = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        kept = {}
    url = str(kept.get("url", "")) if isinstance(kept, dict) else ""
    if not url or "'" in url:
        return f"pip install '{NAME}[{extra}]'"
    if url.startswith("file://") and "dir_info" in kept and kept["dir_info"].get("editable"):
        return f"pip install -e '{unquote(urlparse(url).path)}[{extra}]'"
    version = f"{kept['vcs_info']['vcs']}+" if "vcs_info" in kept else ""
    return f"pip install '{NAME}[{extra}] @ {version}{url}'"
