import json
from pathlib import Path

import pytest

from lifelong.storage.files import write_json, write_text, write_with


def test_the_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_with(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", float("nan"))
    assert not list(tmp_path.iterdir())


def test_json_has_a_line_for_each_item_and_numbers_side_by_side(tmp_path: Path) -> None:
    content = {
        "none": {}, "matrix": [[0.5, None], []], "text": 'a "b"\n', "numbers": [1, 2],
        "method": {"tasks": {"1": {"counts": [3, 4]}, "2": {}}},
    }  # fmt: skip
    write_json(tmp_path / "file", content)
    text = (tmp_path / "file").read_text()
    assert json.loads(text) == content
    assert text.splitlines() == [
        "{",
        ' "none": {},',
        ' "matrix": [',
        "  [0.5, null],",
        "  []",
        " ],",
        ' "text": "a \\"b\\"\\n",',
        ' "numbers": [1, 2],',
        ' "method": {',
        '  "tasks": {',
        '   "1": {"counts": [3, 4]},',
        '   "2": {}',
        "  }",
        " }",
        "}",
    ]
    write_json(tmp_path / "file", {1: {"a": 1.5}, "b": ("c", [])})  # keys that become texts
    assert json.loads((tmp_path / "file").read_text()) == {"1": {"a": 1.5}, "b": ["c", []]}
