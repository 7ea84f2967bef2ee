import pytest

from lifelong.optim import constant, inverse_time


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-4), (2000, 1e-4 / 1.5), (10_000, 2.857e-5), (19_999, 1.667e-5)]
)
def test_rates_of_the_release(epoch: int, rate: float) -> None:
    assert 1e-4 * inverse_time(epoch, decay=1 / 4000) == pytest.approx(rate, rel=3e-4)


def test_constant() -> None:
    assert constant(5) == 1.0
