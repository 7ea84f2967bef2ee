"""Overrides as they were typed."""

from __future__ import annotations

import pytest

from lifelong.configuration.overrides import check_no_folders


@pytest.mark.parametrize("key", ["run.dir", "sweep.dir", "sweep.subdir", "output_subdir"])
def test_folders_of_hydra_are_refused(key: str) -> None:
    told = rf"^hydra\.{key}=out: runs do not go by it; give paths\.output_dir"
    with pytest.raises(ValueError, match=told):
        check_no_folders(["strategy=hps,finetune", f"hydra.{key}=out"])
    check_no_folders(["strategy=hps,finetune", "hydra.job.chdir=false"])
