import pytest

from lifelong.transfer import alternating, bottom, code, every, explicit, index_of, top
from lifelong.transfer.config import GROUPS, pattern_code


@pytest.mark.parametrize(
    ("depth", "number", "expected"),
    [(4, 10, "0011"), (4, 30, "1110"), (6, 55, "010101"), (4, 0, "1111"), (8, 5, "00000011")],
)
def test_codes_of_the_release(depth: int, number: int, expected: str) -> None:
    assert pattern_code(code(depth, number)[0]) == expected


def test_named_patterns() -> None:
    assert pattern_code(top(4)[0]) == "1111"
    assert pattern_code(top(4, 0)[0]) == "0000"
    assert pattern_code(top(4, 2)[0]) == "0011"
    assert pattern_code(bottom(4, 3)[0]) == "1110"
    assert pattern_code(alternating(4)[0]) == "0101"
    assert pattern_code(alternating(4, first=True)[0]) == "1010"
    assert pattern_code(explicit(4, [1, 0, 1, 0])[0]) == "1010"
    assert pattern_code(explicit(4, "1010")[0]) == "1010"


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_all_configurations_stand_in_the_order_of_their_index(depth: int) -> None:
    configs = every(depth)
    assert [index_of(config) for config in configs] == list(range(2**depth))
    assert all(configs[0])
    assert not any(configs[-1])


@pytest.mark.parametrize(("name", "number"), [("4g", 16), ("5g", 32), ("6g", 64), ("7g", 128)])
def test_groups(name: str, number: int) -> None:
    configs = every(17, name)
    assert len(set(configs)) == len(configs) == number
    assert all(configs[0])
    indices = [index_of(config) for config in configs]
    assert indices == sorted(indices)
    for config in configs:
        begin = 0
        for size in GROUPS[name]:
            assert len(set(config[begin : begin + size])) == 1
            begin += size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: explicit(4, [1, 0, 1]), r"transfer.layers=\[1, 0, 1\]: give 4 entries"),
        (lambda: explicit(4, [1, 0, 1, 2]), "0 or 1"),
        (lambda: top(4, 5), "transfer.layers=5"),
        (lambda: code(4, 45), "transfer.code=45"),
        (lambda: code(4, 31), "transfer.code=31: the release's 31 is the pattern 30 with"),
        (lambda: code(5, 0), "backbone has 5"),
        (lambda: every(4, "4g"), "add up to 17; the backbone has 4 layers"),
        (lambda: every(4, "9g"), "transfer.groups=9g"),
        (lambda: every(17), r"17 layers have 2\^17 configurations, more than 1024"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_codes_of_six_layers_on_office_home() -> None:
    found = [pattern_code(code(6, 5 * number, table="office_home")[0]) for number in range(9)]
    assert found[:5] == ["001111", "000001", "000011", "000111", "001000"]
    assert found[5:] == ["001100", "001110", "000101", "001010"]
    with pytest.raises(ValueError, match=r"transfer\.table=office_home: is for bodies of 6"):
        code(4, 0, table="office_home")
    with pytest.raises(ValueError, match=r"transfer\.code=45: for 6 layers give 0 to 44"):
        code(6, 45, table="office_home")
