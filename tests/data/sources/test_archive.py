"""What archives hold, looked at before it is read."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from lifelong.data.sources import archive
from tests.data.sources.trees import read


def test_an_image_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/1.png", "b/1.png"):
            archive.writestr(name, bytes(10_000))
    content = path.read_bytes()  # the size of a directory's entry stands 24 bytes behind its sign
    place = content.rindex(b"PK\x01\x02") + 24
    path.write_bytes(content[:place] + (3 << 30).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(
        ValueError, match=r"b/1\.png is larger than any image \(3,221,225,472 bytes"
    ):
        read(path, tmp_path)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_official_archives_are_looked_at_by_size_as_well(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST", 5000)
    path = tmp_path / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a.png", bytes(6000))
    else:
        with tarfile.open(path, "w") as packed:
            entry = tarfile.TarInfo("a.png")
            entry.size = 6000
            packed.addfile(entry, io.BytesIO(bytes(6000)))
    with pytest.raises(ValueError, match=r"a\.png is larger than any image \(6,000 bytes\)"):
        list(archive.members(path, ".png"))
