"""Images in arrays, and in files of NumPy's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lifelong
from lifelong.data.sources import array_file, from_arrays
from tests.conftest import execute, results_of

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (20, 6, 5), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (torch.from_numpy(GREY), GREY[:, None]),
        (GREY / 255, GREY[:, None]),
        ((GREY / 255).astype(np.float32), GREY[:, None]),
        (torch.from_numpy(GREY / 255).requires_grad_(), GREY[:, None]),
        (torch.from_numpy(GREY // 255 * 1.0).bfloat16(), GREY[:, None] // 255 * 255),
    ],
)
def test_layouts_and_kinds_of_numbers(images: Any, wanted: Any) -> None:
    source = from_arrays((images, LABELS), (images, LABELS))
    assert np.array_equal(source.train_images, wanted)
    assert np.array_equal(source.test_images, wanted)
    assert source.train_images.dtype == np.uint8
    assert source.train_labels.tolist() == LABELS.tolist()


def test_a_share_of_each_class_is_for_testing() -> None:
    source = from_arrays((GREY, LABELS), test_share=0.4)
    held_out = [label + 4 * place for label in range(4) for place in (2, 4)]  # of five, evenly
    assert np.array_equal(source.test_images[:, 0], GREY[sorted(held_out)])
    assert len(source.train_labels) == 12
    assert np.bincount(source.test_labels).tolist() == [2, 2, 2, 2]


def test_labels_of_any_kind_number_the_classes_in_order() -> None:
    texts = np.array(["b", "d", "a", "c"])[LABELS]
    source = from_arrays((GREY, texts), (GREY[:4], texts[:4]))
    assert source.classes == ("a", "b", "c", "d")
    assert source.train_labels[:4].tolist() == [1, 3, 0, 2]
    gaps = from_arrays((GREY, LABELS[:, None] * 10), (GREY[:2], [30, 0]), classes=list("wxyz"))
    assert gaps.classes == ("w", "x", "y", "z")
    assert gaps.test_labels.tolist() == [3, 0]


def test_two_classes_of_one_name_are_refused() -> None:
    """By which a stream would choose the first of them."""
    with pytest.raises(ValueError, match="two classes are called dog"):
        from_arrays((GREY, LABELS), classes=["cat", "dog", "dog", "cow"])


def test_groups_of_classes_in_arrays() -> None:
    source = from_arrays((GREY, LABELS))
    stream = lifelong.data.by_class(source, classes=np.array([[0, 1], [2, 3]]), batch_size=4)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((GREY.astype(np.int64), LABELS), None, "the images are int64; give uint8"),
        ((GREY / 100, LABELS), None, "values from 0 to 2.55; give fractions"),
        ((GREY[0], LABELS), None, r"the images are \[6, 5\]; give"),
        ((COLOUR[..., :2], LABELS), None, r"with 1 or 3 channels"),
        ((GREY, LABELS[:9]), (GREY, LABELS), "20 training images but 9 labels"),
        ((GREY, LABELS[:9]), None, "20 training images but 9 labels"),
        ((GREY, np.eye(4)[LABELS]), None, "20 training images but 80 labels"),
        ((GREY[:0], LABELS[:0]), None, "holds no training images"),
        ((GREY, LABELS), (GREY[:0], []), "holds no test images; give some, or leave the part out"),
        ((GREY, np.array([1, "a"] * 10, object)), None, r"of several kinds \(int, str\)"),
        ((GREY, LABELS / 2), None, "the labels are float64; give whole numbers or texts"),
        ((GREY, LABELS), (GREY[:, :4], LABELS), r"the test images are \[1, 4, 5\] and those for"),
        ((GREY, LABELS), (COLOUR, LABELS), r"the test images are \[3, 6, 5\] and those for"),
        ((GREY, LABELS), (GREY, LABELS + 1), "no training image has the label 4"),
        ((GREY[:5], LABELS[:5]), None, "class '0' has 2 images, which data.test=0.2"),
    ],
)
def test_what_is_no_images_is_refused(train: Any, test: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(train, test)


def test_a_file_brought_to_a_shape(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, x_train=GREY, y_train=LABELS, x_test=GREY, y_test=LABELS, x_val=GREY[:4],
             y_val=LABELS[:4])  # fmt: skip
    for _ in range(2):  # the second time from the prepared copy
        source = array_file(file, shape=(3, 6, 5), cache=tmp_path)
        for channel in range(3):
            assert np.array_equal(source.train_images[:, channel], GREY)
        assert source.has_validation
    assert array_file(file, shape=(1, 12, 10), cache=tmp_path).shape == (1, 12, 10)


def test_files_without_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.file=.*none.npz: no such file"):
        array_file(tmp_path / "none.npz", shape=(1, 6, 5), cache=tmp_path)
    np.savez(tmp_path / "a.npz", pixels=GREY)
    with pytest.raises(ValueError, match="holds pixels; give arrays x_train and y_train"):
        array_file(tmp_path / "a.npz", shape=(1, 6, 5), cache=tmp_path)
    (tmp_path / "b.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"is no file of numpy\.savez"):
        array_file(tmp_path / "b.npz", shape=(1, 6, 5), cache=tmp_path)
    np.savez(tmp_path / "c.npz", x=np.array([{}]), y=LABELS)  # pickled, so never read
    with pytest.raises(ValueError, match=r"c\.npz: Object arrays cannot be loaded"):
        array_file(tmp_path / "c.npz", shape=(1, 6, 5), cache=tmp_path)


def test_a_stream_of_arrays_in_one_line() -> None:
    stream = lifelong.by_class(np.repeat(GREY, 20, 0), np.repeat(LABELS, 20), tasks=2)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert (stream.name, stream.batch_size) == ("arrays", 32)
    with pytest.raises(ValueError, match="y: give the labels"):
        lifelong.by_class(GREY, tasks=2)


def test_a_run_on_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.savez(tmp_path / "mine.npz", x=bunch.images / 16, y=bunch.target)
    options = ["strategy=finetune", "data=arrays", "tasks=2", "data.shape=[1,8,8]", "epochs=2"]
    options += ["backbone=mlp", "heads=multi", "optimizer=adam", "lr=0.01", "logger=none"]
    done = execute(tmp_path / "run", *options, f"data.file={tmp_path / 'mine.npz'}")
    assert done == 0, capsys.readouterr().err
    assert results_of(tmp_path / "run")["accuracy"][0][0] > 0.8
    assert execute(tmp_path / "no", *options, f"data.file={tmp_path / 'other.npz'}") == 2
    assert "other.npz: no such file" in capsys.readouterr().err
