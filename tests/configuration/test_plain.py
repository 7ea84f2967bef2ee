"""Configurations as plain dictionaries."""

from __future__ import annotations

from omegaconf import OmegaConf

from lifelong.configuration.plain import as_dict


def test_a_copy_in_dicts_and_lists() -> None:
    config = OmegaConf.create({"a": {"b": [1, "${c}"]}, "c": 2, "none": None})
    found = as_dict(config)
    assert found == {"a": {"b": [1, 2]}, "c": 2, "none": None}
    assert (type(found["a"]), type(found["a"]["b"])) == (dict, list)
    assert as_dict(config, resolve=False)["a"]["b"] == [1, "${c}"]
    found["a"]["b"].append(3)
    assert len(config.a.b) == 2
    assert as_dict(None) == {}
