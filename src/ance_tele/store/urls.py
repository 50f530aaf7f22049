"""URLs of object stores, through fsspec: s3://, gs:// and what else there is a package for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install

# Packages of ours that bring a file system along.
_EXTRAS = {"s3fs": "s3"}


def is_url(name: object) -> bool:
    """Return whether a name is a URL rather than a path.

    >>> is_url("s3://bucket/run"), is_url("runs/mine"), is_url("hub:name")
    (True, False, False)
    """
    return isinstance(name, str) and "://" in name


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Listings are not cached: other machines write there too.

    Raises:
        UserError: There is no such file system, or its package is not installed.
    """
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = url.partition("://")[0].rpartition("::")[2]
    own = {"auto_mkdir": True} if protocol == "file" else {}
    try:
        fs, path = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **own)
    except ImportError as error:
        package = str(known_implementations.get(protocol, {}).get("class", "")).partition(".")[0]
        advice = install(_EXTRAS[package]) if package in _EXTRAS else f"pip install {package}"
        advice = str(error).rstrip(".") if package in ("", "fsspec") else advice
        raise UserError(f"{url} needs a package that is not installed: {advice}.") from None
    except ValueError as error:
        raise UserError(f"{url} is no URL that fsspec knows ({error}); such as s3://bucket/runs/mine.") from None
    if not path.strip("/"):
        raise UserError(f"{url} names no folder; such as {protocol}://bucket/runs/mine.")
    return fs, path.rstrip("/")


def why(error: BaseException) -> str:
    """Return the first line of an error: object stores' libraries raise whatever they run into."""
    return (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__


@contextmanager
def asking(url: str) -> Iterator[None]:
    """Turn any error of an object store into a sentence.

    Raises:
        UserError: The block has failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{url} cannot be read or written ({why(error)}); check its name, the credentials and the network."
        ) from error
