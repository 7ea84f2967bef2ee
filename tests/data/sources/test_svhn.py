"""SVHN on small files in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lifelong.data.sources import svhn
from tests.data.small_files import write, write_svhn


def test_svhn(tmp_path: Path) -> None:
    images = write_svhn(tmp_path)
    source = svhn(tmp_path, download=False)
    assert np.array_equal(source.train_images[4], images[..., 4].transpose(2, 0, 1))
    assert source.train_labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    (tmp_path / "test_32x32.mat").write_bytes(b"no mat file")
    with pytest.raises(ValueError, match=r"test_32x32.mat: not a readable file"):
        svhn(copied(tmp_path, "train_32x32.mat", "test_32x32.mat"), download=False)


def copied(folder: Path, *names: str) -> Path:
    """The files in a new folder, without the prepared copy."""
    for name in names:
        write(folder / "again" / name, (folder / name).read_bytes())
    return folder / "again"
