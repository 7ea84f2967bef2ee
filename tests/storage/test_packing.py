"""State goes into a file and comes back the same, and takes little room there."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.storage.packing import pack, unpack

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
N = 4096


def file_of(state: Any) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def tripped(state: Any) -> Any:
    """The state after its way through a file."""
    return unpack(torch.load(io.BytesIO(file_of(pack(state))), weights_only=True))


def size(state: Any) -> int:
    return len(file_of(pack(state)))


def bits(tensor: Tensor) -> Tensor:
    """What the entries are, so that NaN equals itself and -0.0 is not 0.0."""
    return tensor.contiguous().view(BITS[tensor.element_size()])


def same(one: Tensor, other: Tensor) -> bool:
    return (
        one.dtype == other.dtype
        and one.stride() == other.stride()
        and torch.equal(bits(one), bits(other))
    )


def dense(dtype: torch.dtype = torch.float32, n: int = N) -> Tensor:
    return (torch.rand(n, dtype=torch.float64) + 0.5).to(dtype)


def sparse(dtype: torch.dtype = torch.float32, every: int = 4, n: int = N) -> Tensor:
    values = dense(dtype, n)
    values[torch.arange(n) % every > 0] = 0
    return values


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_and_types_come_back(dtype: torch.dtype) -> None:
    odd = torch.tensor([math.nan, math.inf, -math.inf, torch.finfo(dtype).tiny / 2], dtype=dtype)
    for values in (dense(dtype), sparse(dtype), torch.zeros(N, dtype=dtype)):
        values[: len(odd)] = odd
        values[-1] = torch.finfo(dtype).max
        assert same(tripped({"a": values})["a"], values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sparse_tensors_take_less_room(dtype: torch.dtype) -> None:
    """Their values and a bit for each entry, and some hundreds of bytes around them."""
    room = N // 4 * dense(dtype).element_size() + N // 8
    least = size({"a": torch.zeros(N, dtype=dtype)}) - N // 8
    assert 0 <= size({"a": sparse(dtype)}) - room - least < 300
    assert size({"a": sparse(dtype)}) < len(file_of({"a": sparse(dtype)}))


@pytest.mark.parametrize("zeros", [0, N // 8 - 1, N // 8, N // 2, N])
def test_no_tensor_takes_more_room_than_it_did(zeros: int) -> None:
    values = dense()
    values[torch.randperm(N)[:zeros]] = 0
    assert same(tripped([values])[0], values)
    assert size([values]) < len(file_of([values])) + 1000


@pytest.mark.parametrize("make", [dense, sparse])
def test_equal_tensors_are_stored_once_and_come_back_apart(make: Any) -> None:
    one = make()
    state = {"a": one, "b": [one.clone(), {"c": (one.clone(), 3)}], "d": one}
    single = {"a": one, "b": [0, {"c": (0, 3)}], "d": 0}
    assert size(state) - size(single) < (1500 if make is dense else 1500 + 3 * N // 8)
    back = tripped(state)
    found = [back["a"], back["b"][0], back["b"][1]["c"][0], back["d"]]
    assert len({tensor.untyped_storage().data_ptr() for tensor in found}) == 4
    for number, tensor in enumerate(found):
        for other in found[number:]:
            assert same(other, one)
        tensor.fill_(number)  # the later ones are not to notice


def test_tensors_that_look_alike_are_told_apart() -> None:
    """They differ in one entry, in their shape, their type or their layout."""
    one = dense()
    other = one.clone()
    other[5] += 1
    grid = one.view(4, 4, 16, 16)
    last = grid.contiguous(memory_format=torch.channels_last)
    few = sparse()
    state = [one, other, one.double(), one.view(64, 64), grid, last, one.view(64, 64).t()]
    state += [few, few[few != 0]]
    for before, after in zip(state, tripped(state), strict=True):
        assert same(after, before)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("shape", [(8, 4, 16, 16), (64, 64, 1, 1), (1, 64, 8, 8), (64, 1, 8, 8)])
def test_layouts_come_back(shape: tuple[int, ...], zeros: bool) -> None:
    values = (sparse if zeros else dense)(n=math.prod(shape)).view(shape)
    layouts = [values, values.contiguous(memory_format=torch.channels_last)]
    layouts += [values.transpose(0, 1), values.flatten(1).t()]
    for before, after in zip(layouts, tripped(layouts), strict=True):
        assert same(after, before)


def test_what_is_no_large_tensor_of_floats_comes_back() -> None:
    state: dict[str, Any] = {
        "whole": torch.arange(N) % 2, "bytes": torch.zeros(N, dtype=torch.uint8),
        "flags": torch.zeros(N, dtype=torch.bool), "small": torch.tensor([0.0, -0.0, math.nan]),
        "one": torch.tensor(0.0), "none": torch.zeros(0), "flat": torch.zeros(0, 5),
        "plain": [1, 2.5, "text", None, True, (3, [4, {5: 6}])], "": {}, "empty": [(), []],
        7: torch.tensor(3),
    }  # fmt: skip
    packed, back = pack(state), tripped(state)
    assert all(packed[key] is value for key, value in state.items() if torch.is_tensor(value))
    assert list(back) == list(state)
    assert (back["plain"], back[""], back["empty"]) == (state["plain"], {}, [(), []])
    for key, before in state.items():
        if torch.is_tensor(before):
            assert back[key].dtype == before.dtype
            assert torch.equal(back[key].nan_to_num(9), before.nan_to_num(9))
    assert torch.signbit(back["small"]).tolist()[:2] == [False, True]


def test_packing_leaves_the_state_as_it_is() -> None:
    one = torch.nn.Parameter(sparse())
    state = {"a": one, "b": [one.detach().clone()]}
    pack(state)
    assert state["a"] is one
    assert torch.equal(state["b"][0], one.detach())
    assert state["b"][0].untyped_storage().data_ptr() != one.untyped_storage().data_ptr()
    assert not tripped(state)["a"].requires_grad


def test_tensors_with_nan_are_kept_apart_and_right() -> None:
    """NaN equals nothing: such tensors are not found equal, and come back all the same."""
    one = dense()
    one[[0, 7]] = math.nan
    other = one.clone()
    other[9] = 3
    for before, after in zip([one, other, one], tripped([one, other, one]), strict=True):
        assert same(after, before)


@pytest.mark.parametrize("case", ["sparse", "equal"])
def test_negative_zeros_come_back(case: str) -> None:
    """As a mask makes them of negative weights; also beside a tensor with 0.0 in their place."""
    values = sparse() if case == "sparse" else dense()
    values[3] = 0.0
    negative = values.clone()
    negative[3] = -0.0
    state = [negative] if case == "sparse" else [values, negative]
    assert same(tripped(state)[-1], negative)
