"""lifelong: experiments in lifelong learning, configured by Hydra and run by Lightning.

`lifelong.learn(strategy="ewc", data="digits")` runs one, `lifelong.load_run(folder)` reads one
back, `lifelong.results("outputs")` gives many as rows.

Shapes in docstrings and at line ends use these letters: b batch, n images of a split, c channels
(or, where the text says so, configurations), h height, w width, t task, k classes of a task,
d layers of a backbone, f features of a backbone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from lifelong.backbones import AlexNet as AlexNet
    from lifelong.backbones import Backbone as Backbone
    from lifelong.backbones import Body as Body
    from lifelong.backbones import Module as Module
    from lifelong.backbones import PreActivationResNet18 as PreActivationResNet18
    from lifelong.backbones import ReducedResNet as ReducedResNet
    from lifelong.backbones import ResNet18 as ResNet18
    from lifelong.backbones import Timm as Timm
    from lifelong.backbones import Torchvision as Torchvision
    from lifelong.backbones import Wrapped as Wrapped
    from lifelong.backbones import convnet as convnet
    from lifelong.backbones import mlp as mlp
    from lifelong.backbones import resnet17 as resnet17
    from lifelong.comparison.rows import results as results
    from lifelong.data import Batch as Batch
    from lifelong.data import Feed as Feed
    from lifelong.data import Images as Images
    from lifelong.data import Task as Task
    from lifelong.data import TaskStream as TaskStream
    from lifelong.data import Visit as Visit
    from lifelong.data import arrays as arrays
    from lifelong.data import by_class as by_class
    from lifelong.data import domains as domains
    from lifelong.data import folder as folder
    from lifelong.data import folders as folders
    from lifelong.data import pairs as pairs
    from lifelong.data import permuted as permuted
    from lifelong.data import rotated as rotated
    from lifelong.data import sequence as sequence
    from lifelong.data.noisy_permuted import noisy_permuted as noisy_permuted
    from lifelong.data.sources import from_arrays as from_arrays
    from lifelong.data.sources import materialize as materialize
    from lifelong.finished.load import Run as Run
    from lifelong.finished.load import load_run as load_run
    from lifelong.measures import Accuracy as Accuracy
    from lifelong.measures import AccuracyOfClasses as AccuracyOfClasses
    from lifelong.measures import CalibrationError as CalibrationError
    from lifelong.measures import Confusion as Confusion
    from lifelong.measures import Loss as Loss
    from lifelong.measures import Measure as Measure
    from lifelong.measures import Prediction as Prediction
    from lifelong.networks import ChannelGatedNetwork as ChannelGatedNetwork
    from lifelong.networks import ExpandableNetwork as ExpandableNetwork
    from lifelong.networks import IncrementalHead as IncrementalHead
    from lifelong.networks import Independent as Independent
    from lifelong.networks import MultiHead as MultiHead
    from lifelong.networks import Network as Network
    from lifelong.networks import OutputMatrix as OutputMatrix
    from lifelong.networks import ProgressiveNetwork as ProgressiveNetwork
    from lifelong.networks import SingleHead as SingleHead
    from lifelong.networks import TaskNetwork as TaskNetwork
    from lifelong.networks import TwoBranchNetwork as TwoBranchNetwork
    from lifelong.optim import SAM as SAM
    from lifelong.optim import TAG as TAG
    from lifelong.optim import CFlat as CFlat
    from lifelong.optim import Flatness as Flatness
    from lifelong.optim import TaskOptimizer as TaskOptimizer
    from lifelong.optim import TensorFlowRMSProp as TensorFlowRMSProp
    from lifelong.parts.fisher import Fisher as Fisher
    from lifelong.parts.importance import Importance as Importance
    from lifelong.parts.memory import Balanced as Balanced
    from lifelong.parts.memory import Exemplars as Exemplars
    from lifelong.parts.memory import Memory as Memory
    from lifelong.parts.memory import Reservoir as Reservoir
    from lifelong.parts.memory import RingBuffer as RingBuffer
    from lifelong.parts.sensitivity import Sensitivity as Sensitivity
    from lifelong.parts.ticket import load_ticket as load_ticket
    from lifelong.strategies import AGEM as AGEM
    from lifelong.strategies import APD as APD
    from lifelong.strategies import CBP as CBP
    from lifelong.strategies import CIL as CIL
    from lifelong.strategies import CODA as CODA
    from lifelong.strategies import DARTS as DARTS
    from lifelong.strategies import DEN as DEN
    from lifelong.strategies import DERPP as DERPP
    from lifelong.strategies import ER as ER
    from lifelong.strategies import ERACE as ERACE
    from lifelong.strategies import EWC as EWC
    from lifelong.strategies import GEM as GEM
    from lifelong.strategies import GPM as GPM
    from lifelong.strategies import HAT as HAT
    from lifelong.strategies import L2P as L2P
    from lifelong.strategies import LASEM as LASEM
    from lifelong.strategies import LASEMER as LASEMER
    from lifelong.strategies import MAS as MAS
    from lifelong.strategies import MIR as MIR
    from lifelong.strategies import NCM as NCM
    from lifelong.strategies import SI as SI
    from lifelong.strategies import WSN as WSN
    from lifelong.strategies import Anchored as Anchored
    from lifelong.strategies import ArchitectureSearch as ArchitectureSearch
    from lifelong.strategies import BruteForce as BruteForce
    from lifelong.strategies import ChannelGated as ChannelGated
    from lifelong.strategies import DualPrompt as DualPrompt
    from lifelong.strategies import FrozenBody as FrozenBody
    from lifelong.strategies import GDumb as GDumb
    from lifelong.strategies import ICaRL as ICaRL
    from lifelong.strategies import Joint as Joint
    from lifelong.strategies import L2Init as L2Init
    from lifelong.strategies import LwF as LwF
    from lifelong.strategies import PackNet as PackNet
    from lifelong.strategies import Prompting as Prompting
    from lifelong.strategies import Prompts as Prompts
    from lifelong.strategies import RanPAC as RanPAC
    from lifelong.strategies import Rehearsal as Rehearsal
    from lifelong.strategies import Retrain as Retrain
    from lifelong.strategies import Round as Round
    from lifelong.strategies import ShrinkPerturb as ShrinkPerturb
    from lifelong.strategies import Strategy as Strategy
    from lifelong.strategies import Subnetworks as Subnetworks
    from lifelong.strategies import Tickets as Tickets
    from lifelong.strategies import TicketsBU as TicketsBU
    from lifelong.strategies import TicketsTD as TicketsTD
    from lifelong.training.learn import learn as learn

# Loaded at first use, so that `--help` and configuration errors answer without importing torch.
_NAMES = {
    "lifelong.training.learn": ("learn",),
    "lifelong.finished.load": (
        "Run",
        "load_run",
    ),
    "lifelong.comparison.rows": ("results",),
    "lifelong.parts.ticket": ("load_ticket",),
    "lifelong.parts.fisher": ("Fisher",),
    "lifelong.parts.importance": ("Importance",),
    "lifelong.parts.sensitivity": ("Sensitivity",),
    "lifelong.parts.memory": (
        "Balanced",
        "Exemplars",
        "Memory",
        "Reservoir",
        "RingBuffer",
    ),
    "lifelong.data": (
        "Batch",
        "Feed",
        "Images",
        "Task",
        "TaskStream",
        "Visit",
        "arrays",
        "by_class",
        "pairs",
        "folder",
        "domains",
        "folders",
        "permuted",
        "rotated",
        "sequence",
        "noisy_permuted",
    ),
    "lifelong.data.sources": ("from_arrays", "materialize"),
    "lifelong.backbones": (
        "AlexNet",
        "Backbone",
        "Body",
        "Module",
        "PreActivationResNet18",
        "ReducedResNet",
        "ResNet18",
        "Timm",
        "Torchvision",
        "Wrapped",
        "convnet",
        "mlp",
        "resnet17",
    ),
    "lifelong.networks": (
        "ChannelGatedNetwork",
        "ExpandableNetwork",
        "IncrementalHead",
        "Independent",
        "MultiHead",
        "Network",
        "OutputMatrix",
        "ProgressiveNetwork",
        "SingleHead",
        "TaskNetwork",
        "TwoBranchNetwork",
    ),
    "lifelong.measures": (
        "Accuracy",
        "AccuracyOfClasses",
        "CalibrationError",
        "Confusion",
        "Loss",
        "Measure",
        "Prediction",
    ),
    "lifelong.optim": (
        "SAM",
        "CFlat",
        "Flatness",
        "TAG",
        "TaskOptimizer",
        "TensorFlowRMSProp",
    ),
    "lifelong.strategies": (
        "Rehearsal",
        "Prompts",
        "Prompting",
        "CODA",
        "DualPrompt",
        "L2P",
        "LASEMER",
        "CBP",
        "HAT",
        "ShrinkPerturb",
        "L2Init",
        "GPM",
        "Subnetworks",
        "WSN",
        "PackNet",
        "ICaRL",
        "GDumb",
        "GEM",
        "MIR",
        "ERACE",
        "DERPP",
        "RanPAC",
        "NCM",
        "AGEM",
        "APD",
        "CIL",
        "DARTS",
        "DEN",
        "ER",
        "EWC",
        "LASEM",
        "MAS",
        "SI",
        "Anchored",
        "BruteForce",
        "ChannelGated",
        "FrozenBody",
        "Joint",
        "LwF",
        "Retrain",
        "Round",
        "ArchitectureSearch",
        "Strategy",
        "Tickets",
        "TicketsBU",
        "TicketsTD",
    ),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lifelong' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
