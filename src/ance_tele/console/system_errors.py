"""What the system refuses, in one sentence: which file, and what to do before the same command is run again."""

import errno
import os
import re
import resource

# What is found, and what to do about it.
_ADVICE = {
    errno.ENOSPC: "free some and run the same command again: what is finished is kept",
    errno.EDQUOT: "free some and run the same command again: what is finished is kept",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EACCES: "allow it, and run the same command again",
    errno.EPERM: "allow it, and run the same command again",
    errno.EROFS: "mount it for writing, or give another --out, and run the same command again",
    errno.ENOENT: "it was deleted or moved away; run the same command again: what is left is not made again",
    errno.EIO: "the disk or network failed; run the same command again when it is back",
    errno.ESTALE: "the disk or network failed; run the same command again when it is back",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and run the same command again",
}

# What numpy, torch and safetensors say of a write that was cut short, none of which gives an errno.
_CUT_SHORT = r"\d+ requested and \d+ written|PytorchStreamWriter|inline_container.*unexpected pos"
_NUMBER = r"\((?:os )?error (\d+)\)|\[[Ee]rrno (\d+)\]"


def refused_by_system(error: Exception) -> str | None:
    """Return the sentence on an error of the system, whichever library it came through; None for any other error."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(_NUMBER, str(error))):
        number = int(found[1] or found[2])
    if number is None and isinstance(error, FileNotFoundError):
        number = errno.ENOENT
    if number is None and re.search(f"No space left on device|{_CUT_SHORT}", str(error)):
        limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
        number = errno.EFBIG if limited else errno.ENOSPC
    if number is None and not isinstance(error, OSError):
        return None
    what = _what(error, number)
    return f"{what}; {_ADVICE.get(number or 0, 'mend it and run the same command again')}."


def _what(error: Exception, number: int | None) -> str:
    name = getattr(error, "filename", None) or vars(error).get("writing")
    where = f" ({name})" if name else ""
    if number is not None and (number in _ADVICE or where):
        return os.strerror(number) + (where or _file_in(str(error)))
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _file_in(message: str) -> str:
    """Return the file that a library names in its message, in brackets; "" if it names none."""
    found = re.search(r"'(/[^']+)'", message)
    return f" ({found[1]})" if found else ""
