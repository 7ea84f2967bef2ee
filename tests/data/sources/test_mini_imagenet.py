"""Mini-ImageNet from folders and pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong.data.sources import mini_imagenet
from tests.conftest import configured
from tests.data.small_files import drawn, encoded, stream_of, write


def wnids() -> list[str]:
    groups = configured("data=split_mini_imagenet", "strategy=finetune").data.classes
    return [name for group in groups for name in group]


def test_mini_imagenet_from_folders_and_pickles(tmp_path: Path) -> None:
    """Both forms give the same: the last images of each class are for testing."""
    names = wnids()
    assert len(set(names)) == 100
    parts = {"train": names[:64], "test": names[64:84], "val": names[84:]}
    folder, pickles = tmp_path / "folder", tmp_path / "pickles"
    for part, classes in parts.items():
        images = drawn(10 * len(classes), 84, 84, 3, seed=len(classes))
        rows = {name: list(range(10 * i, 10 * i + 10)) for i, name in enumerate(classes)}
        content = {"image_data": images, "class_dict": rows}
        path = pickles / f"mini-imagenet-cache-{part}.pkl"
        write(path, pickle.dumps(content, protocol=2))
        for name in classes:
            for number, row in enumerate(rows[name]):  # eight in one part, two in another
                place = folder / "mini_imagenet" / ("train" if number < 8 else "val") / name
                write(place / f"{name}{number:08d}.png", encoded(images[row]))
    one, other = mini_imagenet(folder), mini_imagenet(pickles)
    assert one.classes == other.classes == tuple(sorted(names))
    assert one.train_images.shape == (800, 3, 84, 84)
    assert one.test_images.shape == (200, 3, 84, 84)
    assert np.array_equal(one.train_images, other.train_images)
    assert np.array_equal(one.test_images, other.test_images)
    assert np.array_equal(one.train_labels, other.train_labels)
    stream = stream_of("split_mini_imagenet", folder)
    assert [len(visit.task.classes) for visit in stream] == [5] * 20
    assert [one.classes[label] for label in stream.tasks[13].classes] == names[65:70]
    x = stream.tasks[0].train[torch.arange(40)].x
    assert float(x.min()) == pytest.approx(-1)
    assert float(x.max()) == pytest.approx(1)
