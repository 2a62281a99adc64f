"""Split documents into training and validation by a hash of their ids, the same on every machine."""

import hashlib
from typing import Literal

Split = Literal["train", "validation"]
VALIDATION = 0.05  # fraction of the documents held out


def in_validation(document_id: str, validation: float = VALIDATION) -> bool:
    """Return whether a document is held out: its hash, scaled to [0, 1), is below ``validation``.

    A larger fraction holds out the same documents and more.

    >>> hashlib.sha256(b"a").hexdigest()[:4], 0xCA97 / 0x10000
    ('ca97', 0.791)
    >>> in_validation("a", 0.79), in_validation("a", 0.80)
    (False, True)
    """
    return position(document_id) < validation * 2**64


def position(document_id: str) -> int:
    """Return the hash of a document's id as a whole number below 2^64."""
    digest = hashlib.sha256(document_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")
