"""Bodies of any kind cut into blocks, which can be shared, frozen and searched like layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, fx, nn

from lifelong.backbones.low_rank import renewed
from lifelong.backbones.moving import moves
from lifelong.backbones.unit import Unit
from lifelong.data.generators import drew, state

if TYPE_CHECKING:
    from lifelong.backbones.backbone import Body

MOST_OF_IT = 0.7  # of the modules with weights: a part with more is where the blocks are


class Block(Unit):
    """A part of a body as it stands, from one cut to the next.

    Args:
        module: the part.
        number: of the block in the body, from 0.
        fresh: where new ones of the kind come from.
    """

    def __init__(self, module: nn.Module, number: int, fresh: Fresh) -> None:
        super().__init__()
        self.module, self.number, self._fresh = module, number, fresh
        # statistics of norms are of one configuration's images, not of several together
        self.by_batch = any(moves(part) for part in module.modules())

    def reinitialized(self) -> Self:
        """The block of a newly made body; of one that brings its weights, with the same ones."""
        return type(self)(self._fresh.take(self), self.number, self._fresh).requires_grad_()

    def restart(self) -> None:
        self._fresh.restart()

    def map(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x)
        return out


class Fresh:
    """Blocks of newly made bodies, each handed out once.

    Args:
        make: a body; None: copies are made.
    """

    def __init__(self, make: Callable[[], Body] | None) -> None:
        self.make = make
        self.restart()

    def restart(self) -> None:
        """Forgets what was made: what is drawn from now on depends on the generator alone."""
        self._made: list[dict[int, nn.Module]] = []

    def take(self, block: Block) -> nn.Module:
        """One of the kind of a block."""
        if self.make is None:
            return renewed(block.module)
        holding = next((made for made in self._made if block.number in made), None)
        if holding is None:
            holding = dict(enumerate(self.make().as_blocks()))
            self._made.append(holding)
        return holding.pop(block.number)


class _Ancestors(fx.Tracer):
    """Looks into the modules that hold blocks, and into no others."""

    proxy_buffer_attributes = True

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(name.startswith(f"{module_qualified_name}.") for name in self.names)


def cut(body: nn.Module, names: Sequence[str] = ()) -> list[nn.Module]:
    """A body as modules that, one after the other, compute what it does.

    The first begins with the images, the last ends with the features; all weights are in one.

    Args:
        body: from images to features.
        names: modules before which it is cut; none: they are looked for.

    Raises:
        ValueError: no blocks are found, or they do not follow each other.
    """
    names = list(names or found(body))
    known = dict(body.named_modules())
    for name in names:
        if name not in known:
            raise ValueError(
                f"backbone.blocks: the body has no module {name.removeprefix('module.')}; give "
                f"names such as {', '.join(_examples(body))}"
            )
    try:
        graph = _followed(body, names)
    except Exception as error:  # of the module's own, where its course depends on the images
        raise _no_sequence(body, str(error)) from None
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    order = [name for name in calls if name in names]
    if sorted(order) != sorted(names):
        raise _no_sequence(body, "a block is computed never, or twice")
    blocks = _split(body, graph, names)
    weights = [id(p) for part in blocks for p in part.parameters()]
    if len(weights) != len(set(weights)):
        raise _no_sequence(body, "two blocks have weights in common")
    return blocks


class ByMode(nn.Module):
    """A value that a computation has in training, and another one in tests.

    >>> ByMode(0.5, 0.0).eval()()
    0.0
    """

    def __init__(self, trained: Any, tested: Any) -> None:
        super().__init__()
        self.trained, self.tested = trained, tested

    def forward(self) -> Any:
        return self.trained if self.training else self.tested


STEPS = "its forward takes other steps in tests than in training"
CONSTANT, BY_MODE = "_tensor_constant", "by_mode_"  # fx's name of what a forward makes, and ours


def _followed(body: nn.Module, names: Sequence[str]) -> fx.Graph:
    """The computation of a body, in which what goes by `self.training` still does.

    Raises:
        ValueError: it draws what no image has to do with, or takes other steps in tests.
    """
    before, root = state(), copy.deepcopy(body)  # which a change of mode may change for good
    graphs = []
    for mode in (True, False):
        root.train(mode)
        graphs.append(_Ancestors(names).trace(root))
    if drew(before):
        raise ValueError(
            "its forward draws numbers by itself, which would stay as they were drawn once; draw "
            "by a module, or as randn_like(x)"
        )
    trained, tested = graphs
    same = dict[fx.Node, fx.Node]()  # steps in training by those in tests
    for node, other in zip_longest(list(trained.nodes), tested.nodes):
        if node is None or other is None or not _alike(root, node, other):
            raise ValueError(STEPS)
        same[other] = node
        if node.op == "get_attr" and str(node.target).startswith(CONSTANT):
            setattr(body, str(node.target), getattr(root, str(node.target)))
        with trained.inserting_before(node):
            node.args = _by_mode(body, trained, same, node.args, other.args)
            node.kwargs = _by_mode(body, trained, same, node.kwargs, other.kwargs)
    return trained


def _alike(root: nn.Module, one: fx.Node, other: fx.Node) -> bool:
    """Whether two steps do the same; constants are those of the same values."""
    if one.op != other.op:
        return False
    names = str(one.target), str(other.target)
    if one.op == "get_attr" and all(name.startswith(CONSTANT) for name in names):
        return torch.equal(*(getattr(root, name) for name in names))
    return names[0] == names[1]


def _by_mode(
    body: nn.Module, graph: fx.Graph, same: Mapping[fx.Node, fx.Node], one: Any, other: Any
) -> Any:
    """The arguments of a step in training, and where they are others in tests, both."""

    def within(a: Any, b: Any) -> Any:
        return _by_mode(body, graph, same, a, b)

    if isinstance(one, fx.Node) or isinstance(other, fx.Node):
        if same.get(other) is not one:
            raise ValueError(STEPS)
        return one
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: within(one[key], other[key]) for key in one}
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return type(one)(map(within, one, other))
    if isinstance(one, slice) and isinstance(other, slice):
        ends = ("start", "stop", "step")
        return slice(*(within(getattr(one, end), getattr(other, end)) for end in ends))
    if str(one) == str(other):
        return one
    name = f"{BY_MODE}{sum(isinstance(each, ByMode) for each in body.modules())}"
    body.add_module(name, ByMode(one, other).train(body.training))
    return graph.call_module(name)


def _is_given(node: fx.Node) -> bool:
    """Whether a step takes nothing: an attribute, or a value that goes by the mode."""
    return node.op == "get_attr" or (
        node.op == "call_module" and str(node.target).startswith(BY_MODE) and not node.args
    )


def _split(body: nn.Module, graph: fx.Graph, names: Sequence[str]) -> list[nn.Module]:
    """A computation in parts, each of which ends before a block but the first begins."""
    inputs = next(node for node in graph.nodes if node.op == "placeholder")
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node):
        raise _no_sequence(body, "it gives more than one tensor")
    blocks: list[nn.Module] = []
    parts = _parts(graph, names)
    for number, part in enumerate(parts):
        last = output if number == len(parts) - 1 else part[-1]
        blocks.append(_module(body, part, inputs, last))
        inputs = last
    return blocks


def _parts(graph: fx.Graph, names: Sequence[str]) -> list[list[fx.Node]]:
    """The steps of the computation from one cut to the next."""
    parts, met = [list[fx.Node]()], 0
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or _is_given(node):
            continue
        if node.op == "call_module" and node.target in names:
            met += 1
            if met > 1:
                parts.append([])
        parts[-1].append(node)
    return parts


def _module(body: nn.Module, steps: Sequence[fx.Node], inputs: fx.Node, last: fx.Node) -> nn.Module:
    """Some steps of a computation, which take one tensor and give one."""
    own, known = fx.Graph(), dict[fx.Node, fx.Node]()
    known[inputs] = own.placeholder("x")
    for node in steps:
        for given in node.all_input_nodes:
            if _is_given(given) and given not in known:
                known[given] = own.node_copy(given)
        if any(given not in known for given in node.all_input_nodes):
            raise _no_sequence(body, "a block needs more than what the one before it gives")
        known[node] = own.node_copy(node, known.__getitem__)
    own.output(known[last])
    return fx.GraphModule(body, own)


def found(body: nn.Module) -> list[str]:
    """Names of the blocks of a body: its stages, or the blocks of the one stage that it has."""
    name, node = "", body
    while True:
        parts = {child: _depth(part) for child, part in node.named_children() if _depth(part)}
        total = sum(parts.values())
        most = max(parts, key=lambda child: parts[child], default="")
        if total < 2:
            raise ValueError(
                f"backbone: {called(body)} has no blocks that follow each other; name the "
                "modules before which it is to be cut: backbone.blocks=[...]"
            )
        if len(parts) > 1 and parts[most] <= MOST_OF_IT * total:
            stages = [child for child, depth in parts.items() if depth > 1] or list(parts)
            return [f"{name}{child}" for child in (stages if len(stages) > 1 else parts)]
        name, node = f"{name}{most}.", dict(node.named_children())[most]


def _depth(module: nn.Module) -> int:
    """Modules with weights of their own in it."""
    return sum(any(True for _ in part.parameters(False)) for part in module.modules())


def _examples(body: nn.Module) -> list[str]:
    names = [name.removeprefix("module.") for name, part in body.named_modules() if _depth(part)]
    return [name for name in names if name not in ("", "module")][:4]


def called(body: nn.Module) -> str:
    """What a person calls a body, who may have given it as a module of theirs."""
    return type(getattr(body, "module", body)).__name__


def _no_sequence(body: nn.Module, reason: str) -> ValueError:
    reason = (reason.splitlines() or ["it cannot be followed"])[0][:200]
    return ValueError(
        f"backbone: {called(body)} is no sequence of blocks ({reason}); give "
        "backbone.blocks=[...], modules of it that follow each other, or another backbone"
    )


class Chain(nn.Sequential):
    """The first blocks of a body, which keep their weights; always as in tests.

    >>> Chain([nn.Linear(2, 3)])(torch.zeros(1, 2)).shape
    torch.Size([1, 3])
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__(*blocks)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out
