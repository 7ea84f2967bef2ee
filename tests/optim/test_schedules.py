import pytest

from lifelong.optim import constant, inverse_time, per_task


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-4), (2000, 1e-4 / 1.5), (10_000, 2.857e-5), (19_999, 1.667e-5)]
)
def test_rates_of_the_release(epoch: int, rate: float) -> None:
    assert 1e-4 * inverse_time(epoch, decay=1 / 4000) == pytest.approx(rate, rel=3e-4)


def test_constant() -> None:
    assert constant(5) == 1.0


def test_per_task_begins_with_the_first_task_and_has_a_floor() -> None:
    def rate(epoch: int, lr: float = 0.1) -> float:
        return lr * per_task(epoch, decay=0.5, period=3, lr=lr, floor=0.01)

    assert [rate(epoch) for epoch in (0, 2, 3, 5, 6)] == pytest.approx(
        [0.05, 0.05, 0.025, 0.025, 0.0125]
    )
    assert rate(9) == rate(30) == pytest.approx(0.01)
    assert rate(0, lr=0.005) == pytest.approx(0.005)  # the floor never raises the rate
