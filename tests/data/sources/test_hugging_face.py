"""Data sets of Hugging Face's library, made here and read from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pillow

from lifelong.data import hf_domains
from lifelong.data.sources import hugging_face
from lifelong.data.sources.hugging_face import hugging_face_domains
from tests.conftest import execute, results_of

DRAW = np.random.default_rng(2)
PIXELS = DRAW.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
LABELS = [number % 4 for number in range(40)]
NAMES = ["ant", "bee", "cat", "dog"]


def made(rows: range, **columns: Any) -> Dataset:
    features = {"picture": Image(), "kind": ClassLabel(names=NAMES)}
    content: dict[str, Any] = {
        "picture": [Pillow.fromarray(PIXELS[row]) for row in rows],
        "kind": [LABELS[row] for row in rows],
    }
    for name, values in columns.items():
        features[name] = Value("string") if isinstance(values[0], str) else Value("int64")
        content[name] = values
    return Dataset.from_dict(content, features=Features(features))


def test_parts_and_columns_are_found(tmp_path: Path) -> None:
    whole = DatasetDict(train=made(range(30)), validation=made(range(30, 40)))
    whole.save_to_disk(str(tmp_path / "saved"))
    source = hugging_face(str(tmp_path / "saved"), shape=(3, 6, 6), data_dir=tmp_path)
    assert source.classes == tuple(NAMES)
    assert np.array_equal(source.train_images, PIXELS[:30].transpose(0, 3, 1, 2))
    assert source.train_labels.tolist() == LABELS[:30]
    assert np.array_equal(source.test_images, PIXELS[30:].transpose(0, 3, 1, 2))
    assert not len(source.val_labels)  # the only other part is for testing
    again = hugging_face(str(tmp_path / "saved"), shape=(3, 6, 6), data_dir=tmp_path)
    assert isinstance(again.train_images.base, np.memmap)  # the prepared copy


def test_another_content_under_the_same_name_is_another_set(tmp_path: Path) -> None:
    found = []
    for rows in (range(20), range(20, 40)):
        made(rows).save_to_disk(str(tmp_path / "set"))
        source = hugging_face(str(tmp_path / "set"), shape=(3, 6, 6), data_dir=tmp_path)
        found.append(source.train_images.copy())
    assert not np.array_equal(*found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "photo"}, "data.image=photo: .* has the columns picture, kind, day"),
        ({"label": "photo"}, "data.label=photo: .* has the columns"),
        ({"path": "nowhere", "download": False},
         r"data.path=nowhere: could not be read and download=false \("),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    made(range(20), day=[1] * 20).save_to_disk(str(tmp_path / "set"))
    given = {"path": str(tmp_path / "set"), "shape": (3, 6, 6), "data_dir": tmp_path, **options}
    with pytest.raises(ValueError, match=message):
        hugging_face(**given)


def test_several_classes_to_choose_from(tmp_path: Path) -> None:
    rows = made(range(20))
    rows = rows.add_column("coarse", [row % 2 for row in range(20)])
    rows = rows.cast_column("coarse", ClassLabel(names=["small", "large"]))
    rows.save_to_disk(str(tmp_path / "set"))
    with pytest.raises(ValueError, match=r"data.label=null: .* the columns kind, coarse; give one"):
        hugging_face(str(tmp_path / "set"), shape=(3, 6, 6), data_dir=tmp_path)
    source = hugging_face(str(tmp_path / "set"), shape=(3, 6, 6), data_dir=tmp_path, label="coarse")
    assert source.classes == ("small", "large")


def test_classes_of_domains_are_numbered_alike(tmp_path: Path) -> None:
    """By their names, also where a domain lacks some."""
    rows = made(range(40))
    kinds = rows.features["kind"].names
    styles = ["photo" if row["kind"] < len(kinds) - 1 else "sketch" for row in rows]
    rows.add_column("style", styles).save_to_disk(str(tmp_path / "set"))
    options = {"shape": (3, 6, 6), "data_dir": tmp_path, "test": 0.2}
    sources = hugging_face_domains(str(tmp_path / "set"), domain="style", **options)
    assert {source.classes for source in sources} == {tuple(sorted(kinds))}
    place = sorted(kinds).index(kinds[-1])
    assert set(sources[1].train_labels.tolist()) == {place}
    apart = hugging_face_domains(
        str(tmp_path / "set"), domain="style", same_classes=False, **options
    )
    assert apart[1].classes == (kinds[-1],)


def test_a_run_on_parquet_files_and_on_domains(tmp_path: Path) -> None:
    styles = ["photo" if row < 20 else "sketch" for row in range(40)]
    (tmp_path / "set").mkdir()
    made(range(40), style=styles).to_parquet(str(tmp_path / "set" / "train.parquet"))
    common = [
        f"data.path={tmp_path / 'set'}", "data.shape=[3,6,6]", "backbone=conv_small", "epochs=1",
        "batch_size=4", "logger=none", "trainer=cpu", f"paths.data_dir={tmp_path}",
    ]  # fmt: skip
    assert execute(tmp_path / "a", "data=hf", "data.tasks=2", "strategy=finetune", *common) == 0
    assert len(results_of(tmp_path / "a")["tasks"]) == 2
    options = ["data=hf_domains", "data.domain=style", "strategy=er", *common]
    assert execute(tmp_path / "b", *options) == 0
    assert results_of(tmp_path / "b")["tasks"] == ["photo", "sketch"]
    with pytest.raises(ValueError, match=r"data.domain=month: .* has the columns"):
        hf_domains(
            str(tmp_path / "set"), domain="month", data_dir=str(tmp_path), shape=(3, 6, 6),
            fraction=1.0, validation=0.1, standardize="none", seed=0, name="x", batch_size=4,
        )  # fmt: skip
