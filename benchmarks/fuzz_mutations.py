"""Mutations of valid files: what a broken download, an editor, a script or a stranger makes of them."""

import gzip
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from fuzz_fields import MISSING, TEXT, Change, Doubled, Literally, field, one_of

Expect = Literal["any", "same", "refused"]


@dataclass(frozen=True)
class Mutation:
    """One way to spoil a file.

    Attributes:
        name: What it does.
        group: Column of the table.
        change: Makes the file; of a gzipped one it gets what is inside, unless it is for ``packed`` bytes.
        expect: "same": read as if nothing were; "refused"; "any": read or refused, but nothing dropped in silence.
        heavy: Large: made once for each file, not again and again.
    """

    name: str
    group: str
    change: Change
    expect: Expect = "any"
    packed: bool = False
    heavy: bool = False


def apply(mutation: Mutation, content: bytes, name: str, chance: Random) -> bytes | None:
    """Return what a mutation makes of a file; None where it is not for such a file, or changes nothing."""
    inside = name.removesuffix(".gz")
    if inside == name or mutation.packed:
        if mutation.packed and inside == name:
            return None
        changed = mutation.change(content, name, chance)
    else:
        plain = mutation.change(gzip.decompress(content), inside, chance)
        changed = None if plain is None else gzip.compress(plain, 1)
    return None if changed == content else changed


def _text(change: Callable[[bytes, Random], bytes | None]) -> Change:
    """Make a mutation of text files of one that does not care for their names."""
    return lambda content, name, chance: change(content, chance) if name.endswith(TEXT) else None


def _any(change: Callable[[bytes, Random], bytes | None]) -> Change:
    return lambda content, name, chance: change(content, chance)


NUMBERS = (
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "-1",
    "-0",
    "0",
    "1e39",
    "0.5",
    "1_0",
    "9" * 25,
    "9" * 5000,
)
IDS = (
    "../../escape",
    "/etc/passwd",
    "..",
    "a/../b",
    "con",
    "\u202eabc",
    "a\tb",
    " ",
    "",
    "a b",
    "\x1b[31mred",
    "x" * 5000,
)
TYPES = (None, True, False, 7, 1.5, [], {}, [[]], ["x"], {"x": 1}, "x", [None], [{}], {"text": None}, [1, "a"])

# ---- bytes ---------------------------------------------------------------------------------------


def _insert(*values: bytes) -> Callable[[bytes, Random], bytes]:
    def change(content: bytes, chance: Random) -> bytes:
        at = chance.randrange(len(content) + 1)
        return content[:at] + chance.choice(values) + content[at:]

    return change


def _flip(content: bytes, chance: Random) -> bytes | None:
    if not content:
        return None
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _span(content: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 2, 7, 64, 500)))


def _delete(content: bytes, chance: Random) -> bytes:
    start, stop = _span(content, chance)
    return content[:start] + content[stop:]


def _repeat(content: bytes, chance: Random) -> bytes:
    start, stop = _span(content, chance)
    return content[:stop] + content[start:stop] + content[stop:]


def _zeros(content: bytes, chance: Random) -> bytes:
    start, stop = _span(content, chance)
    return content[:start] + bytes(stop - start) + content[stop:]


def _lines(change: Callable[[list[bytes], Random], list[bytes]]) -> Change:
    def mutate(content: bytes, chance: Random) -> bytes | None:
        lines = content.splitlines(keepends=True)
        return b"".join(change(lines, chance)) if len(lines) > 1 else None

    return _text(mutate)


def _twice(lines: list[bytes], chance: Random) -> list[bytes]:
    place = chance.randrange(len(lines))
    return [*lines[: place + 1], *lines[place:]]


def _shuffled(lines: list[bytes], chance: Random) -> list[bytes]:
    return chance.sample(lines, len(lines))


def _cut(content: bytes, chance: Random) -> bytes | None:
    return content[: chance.randrange(len(content))] if content else None


def _long(size: int) -> Change:
    """A text of many characters in one line."""
    return field(lambda before, chance: "long " * (size // 5))


def _nested(content: bytes, chance: Random) -> bytes:
    deep, at = chance.choice((2_000, 100_000)), chance.randrange(len(content) + 1)
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}"), ("(", ")"), ("- ", ""), ("{", "}")))
    return content[:at] + (opening * deep + closing * deep).encode() + content[at:]


def _bomb(content: bytes, name: str, chance: Random) -> bytes | None:
    """Gzip of gigabytes in few bytes: one line without end."""
    packed = gzip.compress(b"x" * (1 << 24), 9)
    return packed * 256  # members one after the other: 4 GiB


def _surrogate(before: Any, chance: Random) -> Any:
    return Literally('"a \\ud800 b"') if chance.random() < 0.5 else Literally('"\\udc00"')


def _of_weights(change: Callable[[bytes, bytes, Random], bytes]) -> Change:
    """Make a mutation of a .safetensors file of one that gets its header, as JSON, and what follows."""

    def mutate(content: bytes, name: str, chance: Random) -> bytes | None:
        if not name.endswith(".safetensors"):
            return None
        size = 8 + int.from_bytes(content[:8], "little")
        return change(content[8:size], content[size:], chance)

    return mutate


def _joined(header: bytes, rest: bytes, size: int | None = None) -> bytes:
    return (len(header) if size is None else size).to_bytes(8, "little") + header + rest


def _in_header(header: bytes, rest: bytes, chance: Random) -> bytes:
    """Change one field of the header: another dtype, shape or place, a tensor less."""
    changes = (field(one_of(*TYPES)), field(lambda before, chance: MISSING))
    mutate = chance.choice((*changes, field(one_of("F16", "I64", [1], [0, 1 << 40], [-1], [32, 32]))))
    return _joined(mutate(header, "x.json", chance) or header, rest)


def _not_finite(header: bytes, rest: bytes, chance: Random) -> bytes:
    """Put NaN or infinity in the place of some weights."""
    value, changed = struct.pack("<f", chance.choice((float("nan"), float("inf"), -float("inf")))), bytearray(rest)
    for _ in range(chance.choice((1, 100, len(rest) // 4))):
        at = 4 * chance.randrange(len(rest) // 4)
        changed[at : at + 4] = value
    return _joined(header, bytes(changed))


def _fewer_words(content: bytes, name: str, chance: Random) -> bytes | None:
    """Lose words of a tokenizer's vocabulary, or give two of them one number."""
    if not name.endswith("tokenizer.json"):
        return None
    whole = json.loads(content)
    words = whole["model"]["vocab"]
    for word in chance.sample(sorted(words), chance.choice((1, 3, len(words) // 2))):
        if chance.random() < 0.3:
            words[word] = chance.choice((0, 5, 10**6, -1))
        else:
            del words[word]
    return json.dumps(whole).encode()


CRLF = re.compile(rb"\r?\n")

MUTATIONS = (
    Mutation("0 bytes", "empty", _any(lambda content, chance: b"")),
    Mutation("blank lines alone", "empty", _text(lambda content, chance: b"\n \n\r\n\t\n")),
    Mutation("first line alone", "empty", _lines(lambda lines, chance: lines[:1])),
    Mutation("a BOM", "BOM, CRLF", _text(lambda content, chance: b"\xef\xbb\xbf" + content), "same"),
    Mutation("CR LF", "BOM, CRLF", _text(lambda content, chance: CRLF.sub(b"\r\n", content)), "same"),
    Mutation("no last line end", "BOM, CRLF", _text(lambda content, chance: content.rstrip(b"\r\n")), "same"),
    Mutation("CR alone", "BOM, CRLF", _text(lambda content, chance: CRLF.sub(b"\r", content))),
    Mutation(
        "invalid bytes", "encoding", _text(_insert(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe4", b"\x80")), "refused"
    ),
    Mutation("UTF-16", "encoding", _text(lambda content, chance: content.decode().encode("utf-16")), "refused"),
    Mutation("UTF-16 without BOM", "encoding", _text(lambda content, chance: content.decode().encode("utf-16-le"))),
    Mutation("NUL bytes", "NUL", _any(_insert(b"\0", b"\0\0\0\0"))),
    Mutation("NUL in a field", "NUL", field(lambda before, chance: f"a\0{before}\0")),
    Mutation(
        "a lone surrogate",
        "surrogate",
        lambda content, name, chance: field(_surrogate)(content, name, chance) if ".json" in name else None,
    ),
    Mutation("a field missing", "missing", field(lambda before, chance: MISSING)),
    Mutation("a field twice", "doubled", field(lambda before, chance: Doubled("other")), "refused"),
    Mutation("a line twice", "doubled", _lines(_twice)),
    Mutation("another type", "type", field(one_of(*TYPES))),
    Mutation("odd numbers", "numbers", field(lambda before, chance: Literally(chance.choice(NUMBERS)))),
    Mutation("odd numbers as text", "numbers", field(one_of(*NUMBERS))),
    Mutation("odd ids", "ids", field(one_of(*IDS))),
    Mutation("no text", "no text", field(one_of("", " ", "\u00a0", "\n"))),
    Mutation("deep nesting", "nesting", _text(_nested)),
    Mutation("cut short", "cut", _any(_cut)),
    Mutation("gzip cut short", "cut", _any(_cut), "refused", packed=True),
    Mutation("gzip flipped", "cut", _any(_flip), packed=True),
    Mutation("gzip, then rubbish", "cut", _any(lambda content, chance: content + b"rubbish"), "refused", packed=True),
    Mutation("gzip twice", "cut", _any(lambda content, chance: gzip.compress(content)), packed=True),
    Mutation("not gzip", "cut", _any(lambda content, chance: gzip.decompress(content)), "refused", packed=True),
    Mutation("bits flipped", "bytes", _any(_flip)),
    Mutation("bytes lost", "bytes", _any(_delete)),
    Mutation("bytes again", "bytes", _any(_repeat)),
    Mutation("zeros", "bytes", _any(_zeros)),
    Mutation("rubbish", "bytes", _any(lambda content, chance: chance.randbytes(chance.choice((1, 100, 5000))))),
    Mutation("lines in another order", "bytes", _lines(_shuffled)),
    Mutation("header of weights changed", "weights", _of_weights(_in_header)),
    Mutation(
        "header of weights flipped",
        "weights",
        _of_weights(lambda head, rest, chance: _joined(_flip(head, chance) or head, rest)),
    ),
    Mutation(
        "length of the header",
        "weights",
        _of_weights(
            lambda head, rest, chance: _joined(
                head, rest, chance.choice((0, 1, len(head) - 1, len(head) + 8, 1 << 40, (1 << 64) - 1))
            )
        ),
    ),
    Mutation(
        "weights cut short",
        "weights",
        _of_weights(lambda head, rest, chance: _joined(head, rest[: chance.randrange(len(rest))])),
        "refused",
    ),
    Mutation("NaN and infinity", "weights", _of_weights(_not_finite)),
    Mutation("words lost", "weights", _fewer_words),
    Mutation("a line of 50 MB", "long", _long(50_000_000), heavy=True),
    Mutation(
        "a line of 50 MB, cut",
        "long",
        _text(lambda content, chance: content.rstrip() + b' {"a": "' + b"x" * 50_000_000),
        heavy=True,
    ),
    Mutation("4 GiB in 4 MB", "long", _bomb, packed=True, heavy=True),
)
