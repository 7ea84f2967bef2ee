"""Seeds derived by name."""

from __future__ import annotations

import hashlib

from lifelong.data.seeds import derive


def test_a_seed_is_the_beginning_of_a_hash() -> None:
    """Written out: the first eight bytes, without the lowest bit, the same on every machine."""
    digest = hashlib.sha256(b"7/epoch/2").hexdigest()
    assert derive(7, "epoch", 2) == int(digest[:16], 16) // 2
    assert all(0 <= derive(seed) < 2**63 for seed in range(50))


def test_every_argument_matters_and_so_does_its_place() -> None:
    asked = [(1,), (2,), (1, "a"), (1, "b"), (1, "a", 1), (1, "a", 2), (1, 1, "a"), (11, "a")]
    assert len({derive(*each) for each in asked}) == len(asked)  # type: ignore[arg-type]
