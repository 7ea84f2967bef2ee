"""Runs read back: `lifelong.load_run(folder).predict(images, task=2)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lifelong import errors
from lifelong.configuration.compose import register
from lifelong.configuration.folders import check_run
from lifelong.configuration.plain import as_dict
from lifelong.configuration.stored import read_config
from lifelong.configuration.trust import check
from lifelong.data import Images, Task, TaskStream, Visit
from lifelong.data.generators import seed_all, undisturbed
from lifelong.data.seeds import derive
from lifelong.data.transforms import Transform
from lifelong.measures import Prediction
from lifelong.measures.matrix import Matrix, forgotten, from_rows
from lifelong.networks import given
from lifelong.storage.checkpoint import Checkpoint, finished_visits, read
from lifelong.storage.results import read_results, visited
from lifelong.strategies import Strategy


def load_run(
    folder: str | Path,
    visit: int | None = None,
    device: str = "cpu",
    trust: bool = False,
    backbone: nn.Module | None = None,
    data: TaskStream | None = None,
) -> Run:
    """What a run has learned, from its folder. Images are not needed.

    Nothing that is in the folder is run: of its checkpoints only values are read, and of what
    config.yaml names only parts of lifelong and of PyTorch are built.

    Args:
        folder: of the run.
        visit: after which, by its number, from 1; None for the last one that is finished. Runs with
            `keep=all` have them all, others the last two.
        device: to answer on.
        trust: build whatever config.yaml names, such as a method of your own.
        backbone: the module of a run that was made in Python with one, see `lifelong.learn`; its
            weights do not matter.
        data: likewise the stream of one whose images for testing are changed by a transform of its
            own; of it nothing else is asked.

    Raises:
        ValueError: no run there, no such visit, an unreadable file; something else to be built.

    >>> from lifelong import learn, load_run
    >>> folder = getfixture("tmp_path") / "run"
    >>> done = learn("trainer.threads=1", strategy="finetune", data="digits", tasks=1, epochs=1,
    ...              logger="none", paths={"output_dir": folder})
    finetune on digits, seed 1: ...
    >>> run = load_run(folder)
    >>> run.accuracy.shape
    (1, 1)
    """
    return Run(Path(folder).expanduser(), visit, torch.device(device), trust, backbone, data)


class Run:
    """A run after one of its visits.

    Attributes:
        folder: of the run.
        config: its configuration.
        results: content of results.json.
        visit: number of the one after which the weights are those of `strategy`.
        tasks: those met until then, by index; without images.
        strategy: the method with network and state, in evaluation mode.

    >>> from lifelong import learn, load_run
    >>> folder = getfixture("tmp_path") / "run"
    >>> done = learn("trainer.threads=1", strategy="finetune", data="digits", tasks=1, epochs=1,
    ...              logger="none", paths={"output_dir": folder})
    finetune on digits, seed 1: ...
    >>> run = load_run(folder)
    >>> run.accuracy.shape
    (1, 1)
    """

    def __init__(
        self,
        folder: Path,
        visit: int | None,
        device: torch.device,
        trust: bool = False,
        backbone: nn.Module | None = None,
        data: TaskStream | None = None,
    ) -> None:
        self.folder, self.device, self.trust = folder, device, trust
        check_run(folder)
        saved = _checkpoint(folder, visit)
        register()
        self.config = read_config(folder / "config.yaml")
        if not trust:
            check(as_dict(self.config), folder)
        for kind, brought in (("backbone", backbone), ("data", data)):
            if brought is not None:
                given.keep(kind, brought, OmegaConf.select(self.config, f"{kind}.digest"))
        self.results: dict[str, Any] = read_results(folder, ("evaluate",))
        self.visit = saved.visit
        try:
            self.strategy, self.tasks = _restored(self.config, saved)
            transform = _test_transform(self.config.data)
        except Exception as error:  # of many kinds, where files are damaged or of other versions
            raise ValueError(
                f"{folder}: cannot be built from its config.yaml and its checkpoint "
                f"({errors.reason(error)}); one of them is damaged, or of another version"
            ) from (error if errors.debugging() else None)
        self.strategy.to(device).eval()
        for task in self.tasks.values():
            task.test.transform = transform
            task.test.to(device)

    @property
    def accuracy(self) -> Matrix:
        """Test accuracies in [0, 1], a row for each visit, NaN where unmeasured."""
        return from_rows(self.results["accuracy"], len(self.results["tasks"]))

    @property
    def forgetting(self) -> list[float]:
        """Of each task met, its best test accuracy - that at the end, in [0, 1].

        The mean over the tasks but the last is the metric of that name.
        """
        return list(forgotten(self.accuracy, visited(self.results)).values())

    @property
    def importances(self) -> dict[str, Tensor]:
        """What the method holds weights by, by parameter name; empty if it has no such thing."""
        anchor = getattr(self.strategy, "anchor", None)
        return {name: anchor.importance(name) for name in anchor.names} if anchor else {}

    @property
    def body(self) -> nn.Module:
        """The part of the network that the tasks share.

        Raises:
            ValueError: the network has no such part.
        """
        found = getattr(self.strategy.network, "body", None)
        if not isinstance(found, nn.Module):
            raise ValueError(
                f"{self.folder}: the network of {self.results['strategy']} is not one body with "
                "heads"
            )
        return found

    def predict(self, images: Tensor | NDArray[Any], task: int) -> Tensor:
        """Labels within the task, (n,).

        Args:
            images: (n, c, h, w) in the units of the data set, which for pixels is 0 to 255.
            task: index, from 0.
        """
        return self.scores(images, task).argmax(1)

    def predict_class(self, images: Tensor | NDArray[Any], like: int | None = None) -> Tensor:
        """Class numbers of the stream, (n,), without the task given.

        Args:
            images: see `predict`.
            like: task as whose images these are normalised; null for the last one.
        """
        return self.prediction(images, like=like).answer()

    @torch.no_grad()
    def prediction(
        self, images: Tensor | NDArray[Any], task: int | None = None, like: int | None = None
    ) -> Prediction:
        """Scores and the class numbers of their columns, on the CPU.

        Args:
            images: see `predict`.
            task: whose classes are answered; None for those of all seen tasks.
            like: see `predict_class`.
        """
        if task is not None:
            like = task
        known = self._task(max(self.tasks) if like is None else like)
        parts = [
            self.strategy.predict(x, None if task is None else torch.full((len(x),), task))
            for x in self._batches(images, known)
        ]
        if not parts:
            nothing = torch.zeros(0, len(known.classes))
            return Prediction(nothing, nothing.long())
        scores, classes = (
            torch.cat([value.cpu() for value in each]) for each in zip(*parts, strict=True)
        )
        return Prediction(scores, classes)

    def names(self, images: Tensor | NDArray[Any], task: int) -> list[str]:
        """The names of the predicted classes, see `predict`."""
        known = self._task(task)
        names = known.class_names or [str(number) for number in known.classes]
        return [names[label] for label in self.predict(images, task).tolist()]

    def scores(self, images: Tensor | NDArray[Any], task: int) -> Tensor:
        """Class scores under the task, (n, k), on the CPU; see `predict`.

        Raises:
            ValueError: an unknown task, images of another shape.
        """
        return self.prediction(images, task).scores

    @torch.no_grad()
    def _batches(self, images: Tensor | NDArray[Any], task: Task) -> Iterator[Tensor]:
        """The images as the task's are served in tests, some at a time."""
        known = task.test
        x = torch.as_tensor(images).to(self.device)
        if x.shape[1:] != known.x.shape[1:]:
            raise ValueError(
                f"images of shape {list(x.shape)}: the run learned [n, "
                f"{', '.join(map(str, known.x.shape[1:]))}]"
            )
        y = torch.zeros(len(x), dtype=torch.long, device=self.device)
        asked = Images(x, y, torch.full((len(x),), task.index)).served_as(known)
        for rows in asked.portions():
            yield asked[rows].x

    def _task(self, task: int) -> Task:
        if task not in self.tasks:
            raise ValueError(f"task={task}: {self.folder} has learned {sorted(self.tasks)}")
        return self.tasks[task]


def _test_transform(data: DictConfig) -> Transform | None:
    """What changes the images of tests, which a stream made in Python may say itself."""
    node = as_dict(data)  # as it was checked
    transform: Transform | None = instantiate(node.get("test_transform"))
    if transform is None and node.get("transformed"):
        transform = instantiate(node).tasks[0].test.transform
    return transform


def _checkpoint(folder: Path, visit: int | None) -> Checkpoint:
    there = finished_visits(folder)
    if not there:
        raise ValueError(f"{folder}: holds no finished task yet")
    wanted = max(there) if visit is None else visit
    if wanted not in there:
        raise ValueError(
            f"visit={visit}: {folder} has {_listed(sorted(there))}; runs with keep=all have them "
            "all"
        )
    saved = read(there[wanted])
    if not saved.visits:
        raise ValueError(f"{there[wanted]}: was written by a version that kept no tasks in it")
    return saved


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _restored(config: DictConfig, saved: Checkpoint) -> tuple[Strategy, dict[int, Task]]:
    """The method as it was when the checkpoint was written, and the tasks that it had met."""
    visits = [Visit.from_description(entry) for entry in saved.visits]
    with undisturbed():
        strategy = _built(config)
        for visit in visits:
            seed_all(derive(0, "init", visit.number - 1))
            strategy.begin_task(visit)
    strategy.load_state_dict(saved.strategy)
    return strategy, {visit.task.index: visit.task for visit in visits}


def _built(config: DictConfig) -> Strategy:
    node = as_dict(config.strategy)
    strategy: Strategy = instantiate(without_files(node), _convert_="all")
    strategy.lifetime = config.optimizer_lifetime
    return strategy


def without_files(node: Any) -> Any:
    """A copy of a node in which nothing is asked for that a finished run needs no more.

    A class says in `not_loaded` which of its options those are, and what stands in for them: images
    or first weights that may be gone, or would be fetched.
    """
    if isinstance(node, list):
        return [without_files(value) for value in node]
    if not isinstance(node, dict):
        return node
    found = get_object(node["_target_"]) if "_target_" in node else None
    stand_ins = getattr(found, "not_loaded", {})
    return {key: stand_ins.get(key, without_files(value)) for key, value in node.items()}


def replaced(node: Any, values: Mapping[str, Any]) -> Any:
    """A copy of nested dicts and lists with other values for some keys, at any depth."""
    if isinstance(node, dict):
        return {key: values.get(key, replaced(value, values)) for key, value in node.items()}
    return [replaced(value, values) for value in node] if isinstance(node, list) else node
