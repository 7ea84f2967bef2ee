"""Every member of every group composes and can be built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lifelong.comparison.tables import COLUMNS, TIMES, WEIGHTS_LEFT
from lifelong.configuration.complete import complete
from lifelong.configuration.compose import FOLDER
from lifelong.configuration.help import GROUPS, guide
from lifelong.configuration.keys import reads_fidelity
from lifelong.configuration.members import members
from lifelong.configuration.options import check_options
from tests.conftest import configured

MEMBERS = [
    (group, name)
    for group in sorted(GROUPS.keys() - {"search"})
    for name in members(group)
    if "/" not in name  # of a table of experiments
]
VIT = ["backbone=timm", "backbone.name=test_vit", "backbone.options={patch_size:4}"]
NEEDED = {
    ("transfer", "pattern"): ["transfer.layers=[1,0,1,0]"],
    ("transfer", "code"): ["transfer.code=10"],
    ("backbone", "module"): ["backbone.module._target_=torch.nn.Flatten"],
    ("backbone", "timm"): ["backbone.name=test_resnet", "data.shape=[3,32,32]"],
    ("backbone", "torchvision"): ["backbone.name=mobilenet_v3_small", "data.shape=[3,32,32]"],
    ("augment", "library"): ["data.train_transform.transforms=[{_target_: torch.nn.Identity}]"],
    ("data", "domains"): ["data.roots=[pacs]"],
    ("data", "arrays"): ["data.file=mine.npz"],
    ("data", "hf"): ["data.path=images"],
    ("data", "hf_domains"): ["data.path=images", "data.domain=style"],
    ("data", "folder"): ["data.root=images"],
    ("data", "folders"): ["data.roots=[one,two]"],
    ("data", "torchvision"): ["data.name=MNIST"],
    ("unlabeled", "folder"): ["unlabeled_folder=images"],
    ("unlabeled", "npz"): ["unlabeled_file=images.npz"],
    **{("strategy", name): VIT for name in ("l2p", "dualprompt", "coda")},
    ("strategy", "retrain"): ["strategy.run=outputs/run", "strategy.visit=2"],
}


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_member_composes_with_the_types_of_its_target_and_is_built(group: str, member: str) -> None:
    config = configured(f"{group}={member}", *NEEDED.get((group, member), []))
    complete(config)
    check_options(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if group in ("augment", "data", "debug", "experiment", "unlabeled"):
        return
    built = instantiate(config[group], _convert_="all")
    assert built is not None
    if group == "transfer":
        depth = 8 if member[-1].isdigit() else 4
        assert all(len(candidate) == depth for candidate in built(depth))


@pytest.mark.parametrize("search", members("search"))
def test_search_composes_and_is_built(search: str) -> None:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("config", [f"search={search}"])
    assert instantiate(config.search, _convert_="all") is not None
    assert 5 < len(members("search")[search].summary()) < 100


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_member_says_what_it_is(group: str, member: str) -> None:
    assert 5 < len(members(group)[member].summary()) < 100


EXPERIMENTS = members("experiment")


def said(value: Any, path: str = "") -> Iterator[str]:
    """Choices and options that an experiment makes, not what they are set to."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from said(below, f"{path}.{key}")
    elif path == ".defaults":
        yield from (str(choice) for choice in value)
    else:
        yield path


def covering() -> list[str]:
    """Experiments that between them make each choice and give each option of their paper."""
    met: set[tuple[str, str]] = set()
    found = []
    for name, member in EXPERIMENTS.items():
        own = {(name.partition("/")[0], each) for each in said(yaml.safe_load(member.text()))}
        if own - met:
            found.append(name)
        met |= own
    return found


COVERING = covering()


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=() if name in COVERING else pytest.mark.slow)
        for name in EXPERIMENTS
    ],
)
def test_experiment_composes(experiment: str) -> None:
    config = configured(f"experiment={experiment}")
    complete(config)
    check_options(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_says_what_it_is(experiment: str) -> None:
    member = EXPERIMENTS[experiment]
    assert f"lifelong run experiment={experiment}" in member.text()
    published = dict(yaml.safe_load(member.text()).get("published") or {})
    after = published.pop("average_accuracy_after", {})
    assert all(1 <= visits <= 20 and 0 < mean < 100 for visits, mean in after.items())
    left = published.pop(WEIGHTS_LEFT, [])
    assert all(0 < share < 100 for share in left)
    times = {key: published.pop(key) for key in TIMES if key in published}
    assert all(isinstance(mean, float | int) and mean > 0 for mean, _ in times.values())
    for metric, (mean, deviation) in published.items():
        assert metric in COLUMNS
        assert deviation is None or deviation >= 0
        assert str(mean) in member.summary()


def test_rows_of_the_lasem_paper() -> None:
    rows = [row.text() for name, row in EXPERIMENTS.items() if name.startswith("lasem/")]
    published = [text for text in rows if "published" in yaml.safe_load(text)]
    assert len(published) == 18 + 5 + 5 + 4  # of the tables 8.1, 8.2 without repeats, 8.3
    config = configured("experiment=lasem/cifar100_40_resnet_lasem_6g")
    assert config.transfer.groups == "6g"
    assert config.backbone._target_.endswith("resnet17")
    assert len(config.data.classes) == 40
    config = configured("experiment=lasem/office_home_den")
    assert (config.strategy.grow, config.protocol.lr) == (32, 2e-5)
    assert list(config.backbone.kernels) == [11, 5, 3, 3]


@pytest.mark.parametrize(
    ("row", "key", "value"),
    [  # of the scripts of TAG's program
        ("cifar100_sgd", "lr", 0.1),
        ("cifar100_tag_adagrad", "lr", 0.005),
        ("cifar100_rmsprop_agem", "lr", 0.005),
        ("cifar100_stable_sgd", "backbone.dropout", 0.1),
        ("cifar100_stable_sgd", "optimizer.momentum", 0.8),
        ("cifar100_mtl", "lr", 0.01),
        ("mini_imagenet_tag_ewc", "lr", 0.0001),
        ("mini_imagenet_agem_5", "lr", 0.1),
        ("mini_imagenet_mtl", "data.repeat", 5),
        ("cub_tag_rmsprop", "lr", 0.000025),
        ("cub_stable_sgd", "optimizer.momentum", 0.0),
        ("rotated_mnist_er", "strategy.memory", 10),
        ("cub_er_10", "strategy.memory", 2000),
        ("cub_sgd", "heads.outputs", 200),
        ("five_datasets_ewc", "strategy.strength", 100.0),
        ("five_datasets_tag_agem", "optimizer.b", 7.0),
        ("five_datasets_stable_sgd", "schedule.decay", 0.7),
        ("five_datasets_tag_rmsprop_5_epochs", "epochs", 5),
        ("rotated_mnist_tag_rmsprop", "lr", 0.00025),
    ],
)
def test_rows_of_the_tag_paper(row: str, key: str, value: object) -> None:
    config = configured(f"experiment=tag/{row}")
    complete(config)
    assert OmegaConf.select(config, key) == value
    # Of these rows only replay, A-GEM, EWC and the images of CUB and rotated MNIST have two forms.
    departs = any(name in row for name in ("er", "agem", "ewc", "cub", "rotated"))
    assert config.fidelity == ("authors" if departs else "clean")
    assert reads_fidelity(config) == departs
    assert config.multi_head.endswith("OutputMatrix")


@pytest.mark.parametrize(
    ("strategy", "data", "key", "value"),
    [
        ("lasem_tf", "stl10", "heads.hidden", [128]),
        ("lasem_hps", "stl10", "heads.hidden", [128, 16]),
        ("den", "cifar100", "heads.hidden", [128]),
        ("progressive", "office_home", "strategy.network.reduction", 2),
        ("progressive", "cifar100", "strategy.network.reduction", 1),
    ],
)
def test_what_a_method_changes_on_one_stream(
    strategy: str, data: str, key: str, value: object
) -> None:
    found = OmegaConf.select(configured(f"strategy={strategy}", f"data={data}"), key)
    assert found == value


def test_values_by_choice_name_members_that_exist() -> None:
    names = {group: members(group) for group in ("data", "kind", "optimizer")}
    found = 0
    for path in FOLDER.rglob("*.yaml"):
        plain = re.sub(r"\$\{by_fidelity:[^}]*\}", "0", path.read_text())
        for groups, values in re.findall(r"\$\{by:([\w+]+),\{(.*?)\}", plain, re.DOTALL):
            for entry in re.sub(r"\[[^]]*\]", "", values).split(","):
                parts = entry.partition(":")[0].strip().split("+")
                for group, part in zip(groups.split("+"), parts, strict=True):
                    assert part in names[group], (path, entry)
                    found += 1
    assert found > 60


def test_guide_names_every_choice() -> None:
    page = guide(FOLDER)
    for group, member in [*MEMBERS, *(("search", name) for name in members("search"))]:
        assert f"{group}=" in page
        assert f"    {member} " in page
    assert max(len(line) for line in page.splitlines()) <= 100


def test_files_are_short() -> None:
    files = list(Path(FOLDER).rglob("*.yaml"))
    assert len(files) <= 200
    for path in files:
        pages = (FOLDER / "tables") in path.parents
        assert len(path.read_text().splitlines()) <= (330 if pages else 75), path
