"""Options that do not fit each other, or the method, or the stream: refused before work begins."""

from __future__ import annotations

import copy
import inspect
import math
import types
from collections.abc import Callable
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from lifelong import errors
from lifelong.configuration.keys import read_keys
from lifelong.data import Batch, TaskStream
from lifelong.data.generators import undisturbed
from lifelong.optim import TaskOptimizer
from lifelong.optim.several import rule_of
from lifelong.optim.task_optimizer import part_of
from lifelong.strategies import Strategy
from lifelong.strategies.closed_form import ClosedForm
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.training import machine
from lifelong.training.processes import asked

HALF = ("16-true", "bf16-true")  # precisions of the weights themselves
SHARES = {"alpha", "dampening", "momentum"}  # of PyTorch's optimizers, which take what is above 1
# Options of the Trainer that the experiment gives, or that nothing of a run asks.
FIXED_BY = {
    "max_epochs": "give epochs",
    "min_epochs": "give epochs",
    "check_val_every_n_epoch": "give evaluate_every",
    "limit_val_batches": "give evaluate_every=0 for no validation",
    "logger": "give logger=csv, tensorboard, wandb or none",
    "max_steps": "give epochs",
    "min_steps": "give epochs",
    "max_time": "give epochs; a stopped run goes on with resume=auto",
    "limit_train_batches": "give data.fraction",
    "limit_test_batches": "tests ask all images",
    "overfit_batches": "give data.fraction",
    "fast_dev_run": "give epochs=1",
    "val_check_interval": "give evaluate_every",
}
FIXED = FIXED_BY.keys() | {
    "callbacks", "num_sanity_val_steps", "enable_checkpointing", "enable_progress_bar",
    "enable_model_summary", "log_every_n_steps", "default_root_dir", "barebones",
    "reload_dataloaders_every_n_epochs",
}  # fmt: skip

HOOKS = (  # where the learner counts, averages and logs, whatever a method does there besides
    "begin_task", "training_step", "backward", "on_train_epoch_start", "on_train_epoch_end",
    "configure_optimizers", "train", "state_dict", "load_state_dict",
)  # fmt: skip


def check_trainer(make: Callable[..., Trainer], config: DictConfig) -> list[str]:
    """Options that the Trainer refuses are refused now; tells of a GPU that it cannot use."""
    try:
        trainer = make(logger=False)
    except Exception as error:  # of many kinds: what an accelerator needs may not be installed
        asked = str(config.trainer.get("accelerator", "auto"))
        if asked in ("auto", "cpu"):
            raise ValueError(f"trainer: {str(error).splitlines()[0]}") from None
        raise ValueError(
            f"trainer.accelerator={asked}: nothing of that name here that PyTorch "
            f"{torch.__version__} can use; give trainer=cpu, or trainer=auto for what is there"
        ) from None
    if config.cuda_graphs and trainer.strategy.root_device.type != "cuda":
        raise ValueError("trainer.cuda_graphs=true: PyTorch finds no GPU here; leave it out")
    notes = []
    if machine.device(config) == "GPU" and trainer.strategy.root_device.type == "cpu":
        gpu = f"there is a GPU that PyTorch {torch.__version__} cannot use; this is on the CPU"
        notes.append(gpu)
    threads, cores = config.get("threads"), machine.cores()
    if isinstance(threads, int) and threads > cores:
        notes.append(
            f"trainer.threads={threads}: this process has {cores} cores, for which so many wait"
        )
    return notes


def refuse(strategy: Strategy, stream: TaskStream, config: DictConfig) -> None:
    """Combinations that the method says it cannot do, or that mean nothing."""
    precision = str(config.trainer.precision)
    fixed = sorted(FIXED & config.trainer.keys())
    if fixed:
        raise ValueError(
            f"trainer.{fixed[0]}={config.trainer[fixed[0]]}: is decided by the run; "
            f"{FIXED_BY.get(fixed[0], 'leave it out')}"
        )
    accumulated = config.trainer.get("accumulate_grad_batches", 1)
    wanted = [
        ("trainer.precision", "float16", precision.startswith("16")),
        ("trainer.precision", "half_precision", precision in HALF),
        ("trainer.accumulate_grad_batches", "accumulate_grad_batches", accumulated != 1),
        ("optimizer_lifetime", "optimizer_lifetime", strategy.lifetime == "stream"),
        ("optimizer_groups", "optimizer_groups", bool(strategy.groups)),
        ("compile", "compile", config.compile is not False),
        ("data.blurry", "blurry", stream.blurry > 0),
        ("data.online", "online", stream.online),
    ]
    refuses = strategy.refuses
    _refuse_cut_hooks(strategy)
    _refuse_complex(strategy)
    _refuse_clipping(config)
    _refuse_graphs(strategy, config)
    _refuse_plasticity(strategy, config)
    _refuse_processes(strategy, config)
    if not strategy.network.one_pass:
        own = "its network keeps weights of each task's own"
        lasts_not = f"{own}, so what is compiled would not last"
        refuses = {"blurry": own, "compile": lasts_not, **refuses}
    for option, kind, given in wanted:
        reason = refuses.get(kind)
        if given and reason is not None:
            raise ValueError(
                f"{option}={OmegaConf.select(config, option)}: {type(strategy).__name__} cannot do "
                f"that: {reason}"
            )
    if "heads" in read_keys(config):
        _refuse_heads(stream, config)
    if not strategy.network.disjoint_outputs:
        _refuse_contradictions(stream)
    _refuse_shared_classes(strategy, stream)
    _refuse_shapes(stream, config)
    _refuse_lone_image(strategy, stream)
    if stream.online and config.epochs != 1:
        raise ValueError(
            f"epochs={config.epochs}: data.online=true trains once on each image; give epochs=1"
        )
    strategy.check(stream.tasks)
    _refuse_optimizer(strategy, config)
    _refuse_groups(strategy, stream)
    _refuse_validation(strategy, stream, config)


def _refuse_complex(strategy: Strategy) -> None:
    """Methods hold, compare and project weights as real numbers."""
    for name, p in strategy.network.named_parameters():
        if p.is_complex():
            raise ValueError(
                f"backbone: {name.removeprefix('body.')} is {str(p.dtype).removeprefix('torch.')}, "
                "where methods hold and compare real weights; give its real and imaginary parts, "
                "as torch.view_as_real has them"
            )


def _refuse_clipping(config: DictConfig) -> None:
    limit = config.trainer.get("gradient_clip_val")
    if isinstance(limit, int | float) and limit <= 0:
        raise ValueError(
            f"trainer.gradient_clip_val={limit}: would clip nothing; give a number above 0, or "
            "leave it out"
        )


def _refuse_cut_hooks(strategy: Strategy) -> None:
    """Hooks of a method of one's own that do not call those of lifelong, which work there."""
    kinds = type(strategy).__mro__
    steps = type(strategy).after_step is not Strategy.after_step  # which is called there
    for kind in kinds[: kinds.index(Strategy)]:
        own = {} if kind.__module__.startswith("lifelong.") else vars(kind)
        for name in (*HOOKS, *(["on_train_batch_end"] if steps else [])):
            if name in own and not _mentions(inspect.unwrap(own[name]), name):
                how = " or write training_loss alone" if name == "training_step" else ""
                raise ValueError(
                    f"strategy={type(strategy).__name__}: {kind.__name__}.{name} takes the place "
                    f"of what lifelong does there; call super().{name}(...) in it{how}"
                )
    if not strategy.automatic_optimization:
        raise ValueError(
            f"strategy={type(strategy).__name__}: automatic_optimization=False leaves lifelong "
            "nothing to step; leave it out, and step an optimizer of your own in training_loss"
        )


def _mentions(function: Any, name: str) -> bool:
    """Whether a function, or one inside it, speaks of something by that name."""
    code = getattr(function, "__code__", function)
    if not isinstance(code, types.CodeType):
        return True  # which nothing is known of
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return name in code.co_names or any(_mentions(each, name) for each in inner)


def _refuse_plasticity(strategy: Strategy, config: DictConfig) -> None:
    whole = hasattr(strategy.network, "body") and strategy.answers_with_body
    if config.plasticity and not whole:
        raise ValueError(
            f"plasticity=true: {type(strategy).__name__} has no one body that answers; leave it out"
        )


def _refuse_graphs(strategy: Strategy, config: DictConfig) -> None:
    option, precision = "trainer.cuda_graphs=true", str(config.trainer.precision)
    if not config.cuda_graphs:
        return
    if not strategy.says("capturable"):
        raise ValueError(
            f"{option}: {type(strategy).__name__} cannot do that: its steps are not alike, or look "
            "at values; leave it out"
        )
    if strategy.flatness is not None:
        raise ValueError(
            f"{option}: does not go with flatness={config.choices.flatness}; leave out either"
        )
    if precision.startswith("16") or config.compile is not False:
        other = f"compile={config.compile}" if config.compile else f"trainer.precision={precision}"
        raise ValueError(f"{option}: does not go with {other}; leave out either")


def _refuse_processes(strategy: Strategy, config: DictConfig) -> None:
    if asked(config) == 1:
        return
    name = type(strategy).__name__
    option = f"trainer.devices={config.trainer.devices}"
    if "devices" in strategy.refuses:
        raise ValueError(f"{option}: {name} cannot do that: {strategy.refuses['devices']}")
    if not strategy.says("divides"):
        raise ValueError(
            f"{option}: {name} does not say that its batches may be divided; if its training_loss "
            "asks for no gradients itself, write divides = True in the class"
        )
    if config.cuda_graphs:
        raise ValueError(f"{option}: does not go with trainer.cuda_graphs=true; leave out either")


def _refuse_heads(stream: TaskStream, config: DictConfig) -> None:
    """Tasks that the heads have no room for, such as of other numbers of classes on one head.

    A head of its own for one class is always right, and learns nothing.
    """
    with undisturbed():
        heads = instantiate(config.heads, _convert_="all")(1)
        for task in stream.tasks:
            heads.add_task(task.index, task.classes)
    alone = [task for task in stream.tasks if len(task.classes) == 1]
    if alone and not heads.shared_outputs:
        counts = ", ".join(str(len(task.classes)) for task in stream.tasks)
        listed = OmegaConf.select(config, "data.classes") is not None
        option, fewer = ("classes", "more classes to it") if listed else ("tasks", "fewer tasks")
        raise ValueError(
            f"data.{option}: the tasks have {counts} classes, and task {alone[0].index + 1} has "
            f"nothing to tell apart; give {fewer}, or one head for all (heads=incremental)"
        )


def _refuse_shared_classes(strategy: Strategy, stream: TaskStream) -> None:
    every = [number for task in stream.tasks for number in task.classes]
    again = [number for number in every if every.count(number) > 1]
    if again and "shared_classes" in strategy.refuses:
        raise ValueError(
            f"data.classes: class {again[0]} belongs to two tasks, and {type(strategy).__name__} "
            f"{strategy.refuses['shared_classes']}; give each class to one task"
        )


def _refuse_contradictions(stream: TaskStream) -> None:
    """Tasks that give the same image different labels, where all tasks have one head."""
    met: dict[int, tuple[int, int, torch.Tensor]] = {}  # class: task, label and first image
    for task in stream.tasks:
        for label, number in enumerate(task.classes):
            first = torch.nonzero(task.train.y == label).flatten()[:1]
            image = task.train.x[first]
            known = met.setdefault(number, (task.index, label, image))
            if known[1] != label and torch.equal(known[2], image):
                raise ValueError(
                    f"data.classes: class {number} is label {known[1]} of task {known[0] + 1} and "
                    f"label {label} of task {task.number}, and a single head answers both alike; "
                    "give heads=multi, or the same place in both tasks"
                )


def _refuse_shapes(stream: TaskStream, config: DictConfig) -> None:
    wanted = list(config.backbone.get("shape", []))
    test = stream.tasks[0].test[torch.zeros(1, dtype=torch.long)]
    for how, batch in (("training", _one_for_training(stream)), ("test", test)):
        served = list(batch.x.shape[1:])
        if wanted and served != wanted:
            raise ValueError(
                f"backbone.shape={wanted}: {how} images are served as {served}; give another "
                "augment, or that backbone.shape"
            )


def _one_for_training(stream: TaskStream) -> Batch:
    """An image of the first task, served as those for training are."""
    rows = stream.tasks[0].test.rows(torch.zeros(1, dtype=torch.long))
    found: Batch = stream.train_dataloader().dataset[rows]
    return found


def _refuse_lone_image(strategy: Strategy, stream: TaskStream) -> None:
    """A last batch of one image, where the network cannot be trained on one, as with batch-norm.

    Later batches of methods that rehearse may have images of a memory beside it; of rounds that a
    method says itself it is not known what they train on.
    """
    size, known = stream.batch_size, type(strategy).rounds is Strategy.rounds
    visits = stream.visits[:1] if isinstance(strategy, Rehearsal) else stream.visits
    ending = next((visit for visit in visits if len(visit.train) % size == 1 % size), None)
    if not known or ending is None or (stream.drop_last and size > 1):
        return
    first, batch = stream.tasks[0], _one_for_training(stream)
    with undisturbed(), torch.no_grad():
        network = copy.deepcopy(strategy.network).train()
        network.add_task(0, first.classes)
        try:
            network(batch.x, torch.zeros_like(batch.t))
        except Exception as error:
            raise ValueError(
                f"batch_size={stream.batch_size}: leaves one image of {ending.task.name} for the "
                "last batch, on which the network cannot be trained "
                f"({errors.reason(error)}); give another, or data.drop_last=true"
            ) from None


def _refuse_optimizer(strategy: Strategy, config: DictConfig) -> None:
    optimizer = _one_made(strategy, config)
    rule, flatness = config.choices.optimizer, config.choices.get("flatness")
    if rule in ("sam", "cflat") and flatness != rule:
        raise ValueError(
            f"flatness={flatness}: optimizer={rule} has flatness={rule}; leave out one"
        )
    unasked = isinstance(strategy, ClosedForm) and not strategy.adapt_first
    if strategy.flatness is not None and unasked:
        raise ValueError(
            f"flatness={config.choices.flatness}: {type(strategy).__name__} takes no steps; leave "
            "it out"
        )
    for name in SHARES & optimizer.defaults.keys():
        if not 0 <= optimizer.defaults[name] <= 1:
            raise ValueError(f"optimizer.{name}={optimizer.defaults[name]:g}: give 0 to 1")
    if isinstance(optimizer, TaskOptimizer):
        _refuse_memory(strategy, type(optimizer).__name__, config)


def _one_made(strategy: Strategy, config: DictConfig) -> torch.optim.Optimizer:
    try:
        return strategy.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    except ValueError as error:  # PyTorch's, which names no option
        told = str(error)
        if "=" in told:
            raise
        raise ValueError(f"optimizer={config.choices.optimizer}: {told}") from None


def _refuse_memory(strategy: Strategy, name: str, config: DictConfig) -> None:
    """What an optimizer that remembers earlier tasks needs."""
    if strategy.lifetime != "stream":
        raise ValueError(
            f"optimizer_lifetime={strategy.lifetime}: {name} remembers earlier tasks; give stream"
        )
    if str(config.trainer.precision).endswith("16-true"):
        raise ValueError(
            f"trainer.precision={config.trainer.precision}: {name}'s moments need 32 bits; give a "
            "mixed precision or 32-true"
        )
    kinds = {str(p.dtype) for p in strategy.network.parameters() if p.requires_grad}
    if len(kinds) > 1:
        raise ValueError(
            f"backbone: its weights are {' and '.join(sorted(kinds))}, where {name} compares them "
            "with each other; give one, or another optimizer"
        )


def _refuse_groups(strategy: Strategy, stream: TaskStream) -> None:
    """Groups that no parameter of the first task is in, and options that the optimizer has not."""
    if not strategy.groups:
        return
    main = strategy.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    with undisturbed():
        network = copy.deepcopy(strategy.network)
        network.add_task(0, stream.tasks[0].classes)
    beside = [name for name, _ in strategy.named_parameters() if not name.startswith("network.")]
    names = [*(name for name, _ in network.named_parameters()), *beside]
    for part, given in strategy.groups.items():
        if not any(part_of(name, [part]) for name in names):
            raise ValueError(
                f"optimizer_groups.{part}: no parameter has that word in its name; the first are "
                f"{', '.join(names[:3])}, the last {names[-1]}"
            )
        options = dict(given)
        own = _of_rule(part, options.pop("rule"), main) if "rule" in given else main.defaults
        _check_group(part, options, own, "rule" in given)


def _of_rule(part: str, rule: Any, main: torch.optim.Optimizer) -> dict[str, Any]:
    """The options of another optimizer for some parameters."""
    if isinstance(main, TaskOptimizer):
        raise ValueError(
            f"optimizer_groups.{part}.rule={rule}: {type(main).__name__} steps all parameters; "
            "leave the rule out, or give another optimizer"
        )
    try:
        made = rule_of(str(rule))([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    except ValueError as error:
        raise ValueError(f"optimizer_groups.{part}.rule={rule}: {error}") from None
    return made.defaults


def _check_group(
    part: str, given: dict[str, Any], options: dict[str, Any], other_rule: bool
) -> None:
    if other_rule and "lr" not in given:
        raise ValueError(f"optimizer_groups.{part}.lr: another rule needs a learning rate; give it")
    known = ", ".join(sorted(map(str, options)))
    for option in given.keys() - options.keys() or ([] if given else ["{}"]):
        raise ValueError(
            f"optimizer_groups.{part}.{option}: the optimizer has {known}; give some of them"
        )
    for option, value in given.items():
        if not _is_like(options[option], value, 1 if option in SHARES else math.inf):
            raise ValueError(
                f"optimizer_groups.{part}.{option}={value}: give a value such as {options[option]}"
            )


def _is_like(default: Any, value: Any, most: float) -> bool:
    """Whether a value can stand in place of an optimizer's default."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and 0 <= value <= most
    if isinstance(default, tuple | list):
        several = isinstance(value, list) and len(value) == len(default)
        return several and all(_is_like(*pair, most) for pair in zip(default, value, strict=True))
    return default is None or isinstance(value, type(default))


def _refuse_validation(strategy: Strategy, stream: TaskStream, config: DictConfig) -> None:
    if strategy.trains_on_validation and config.measure_on == "validation":
        raise ValueError(
            f"measure_on=validation: {type(strategy).__name__} learns from the validation images; "
            "give strategy.arch_data=train"
        )
    if strategy.needs_validation or config.restore_best:
        who = type(strategy).__name__ if strategy.needs_validation else "restore_best"
        bare = [task.name for task in stream.tasks if not len(task.val)]
        every = config.evaluate_every
        last = config.epochs // every * every if every else 0  # epoch that is validated
        if bare or last <= max(config.epochs - config.restore_best, 0) * bool(config.restore_best):
            option = f"{bare[0]} has no validation images" if bare else f"evaluate_every={every}"
            raise ValueError(
                f"{option}: {who} decides by validation images; give a larger "
                "data.validation and evaluate_every=1"
            )
