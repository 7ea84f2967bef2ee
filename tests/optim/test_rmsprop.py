import pytest
import torch

from lifelong.optim import TensorFlowRMSProp


def moves(gradient: float, lr: float, steps: int) -> tuple[list[float], list[float]]:
    """Mean square and total move after each step of a constant gradient, in float64."""
    weight = torch.zeros(1, dtype=torch.double, requires_grad=True)
    optimizer = TensorFlowRMSProp([weight], lr=lr)
    squares, totals = [], []
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        squares.append(float(optimizer.state[weight]["square"]))
        totals.append(-float(weight.detach()))
    return squares, totals


def test_constant_unit_gradient_moves_by_the_rate() -> None:
    _, totals = moves(1.0, 0.01, 3)
    assert totals == pytest.approx([0.01, 0.02, 0.03], rel=1e-9)


def test_small_gradient_by_hand() -> None:
    squares, totals = moves(0.01, 1e-4, 3)
    assert squares == pytest.approx([0.90001, 0.810019, 0.7290271], rel=1e-8)
    assert totals == pytest.approx([1.05409e-6, 2.16518e-6, 3.33638e-6], rel=1e-5)


def test_against_the_formula_on_random_gradients() -> None:
    weights = [torch.randn(3, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    expected = [weight.detach().clone() for weight in weights]
    squares = [torch.ones_like(weight) for weight in expected]
    optimizer = TensorFlowRMSProp(weights, lr=0.1, alpha=0.8, eps=1e-3)
    for _ in range(5):
        for i, weight in enumerate(weights):
            weight.grad = torch.randn_like(weight)
            squares[i] = 0.8 * squares[i] + 0.2 * weight.grad**2
            expected[i] = expected[i] - 0.1 * weight.grad / (squares[i] + 1e-3).sqrt()
        optimizer.step()
    for weight, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), value, rtol=0, atol=1e-12)


def test_state_survives_a_round_trip_and_unused_weights_stay() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = TensorFlowRMSProp([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2))
    again = TensorFlowRMSProp([used, unused], lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[used]["square"], optimizer.state[used]["square"])


@pytest.mark.parametrize("option", [{"alpha": 1.0}, {"eps": -1.0}, {"initial": -1.0}])
def test_refusals(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(option)))):
        TensorFlowRMSProp([torch.ones(1, requires_grad=True)], lr=0.1, **option)
