"""A data set in memory, and its prepared copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from lifelong.data.sources import svhn
from tests.data.small_files import drawn, write_svhn


def test_a_copy_is_made_anew_when_another_of_the_files_changes(tmp_path: Path) -> None:
    write_svhn(tmp_path, 20)
    assert len(svhn(tmp_path, download=False).test_labels) == 20
    savemat(tmp_path / "test_32x32.mat", {"X": drawn(32, 32, 3, 7), "y": np.ones((7, 1), np.uint8)})
    assert len(svhn(tmp_path, download=False).test_labels) == 7
