"""A body with two sets of heads."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lifelong.networks import MultiHead, OutputMatrix, SingleHead, TwoBranchNetwork
from tests.conftest import small_body


def test_the_main_heads_answer_and_the_auxiliary_ones_are_others() -> None:
    network = TwoBranchNetwork(small_body(), partial(MultiHead, hidden=[5]))
    for task, classes in enumerate((3, 2)):
        network.add_task(task, range(classes))
    x = torch.randn(4, 2, 6, 6)
    features = network.body(x)
    main, auxiliary = (
        score(features, [0, 1]) for score in (network.main_scores, network.auxiliary_scores)
    )
    for task, width in enumerate((3, 2)):
        assert main[task].shape == auxiliary[task].shape == (4, width)
        torch.testing.assert_close(main[task], network.logits(x, task))
        torch.testing.assert_close(auxiliary[task], network.auxiliary(features, task))
        assert not torch.allclose(main[task], auxiliary[task])
    own = {id(p) for p in network.heads.parameters()}
    assert not own & {id(p) for p in network.auxiliary.parameters()}


def test_heads_must_tell_the_classes_of_tasks_apart() -> None:
    TwoBranchNetwork(small_body(), partial(OutputMatrix, outputs=6))
    with pytest.raises(ValueError, match="heads=single: the classes of all tasks are told apart"):
        TwoBranchNetwork(small_body(), SingleHead)
