"""Files of state dicts that other programs wrote."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lifelong.parts.state_files import read_state


class Touch:
    """Unpickled it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    state = {"state_dict": {"conv1.weight": torch.ones(2, 3, 3, 3)}, "x": Touch(tmp_path / "ran")}
    torch.save(state, tmp_path / "evil.pt")
    with suppress(ValueError):  # it is refused, or passed over
        assert list(read_state(tmp_path / "evil.pt")) == ["conv1.weight"]
    assert not (tmp_path / "ran").exists()
