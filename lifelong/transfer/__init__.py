"""Networks some of whose layers are shared between tasks, and the patterns that say which."""

from lifelong.transfer.additive import AdditiveTransferLayer
from lifelong.transfer.config import (
    Pattern,
    TransferConfig,
    alternating,
    bottom,
    code,
    every,
    explicit,
    index_of,
    top,
)
from lifelong.transfer.deconvolved import DeconvolvedTransferLayer
from lifelong.transfer.hard import HardTransferLayer
from lifelong.transfer.layer import TransferLayer
from lifelong.transfer.network import TransferNetwork
from lifelong.transfer.posterior import Narrowing
from lifelong.transfer.tensor_factored import TensorFactoredTransferLayer
from lifelong.transfer.tree import PrefixTree

__all__ = [
    "AdditiveTransferLayer",
    "DeconvolvedTransferLayer",
    "HardTransferLayer",
    "Narrowing",
    "Pattern",
    "PrefixTree",
    "TensorFactoredTransferLayer",
    "TransferConfig",
    "TransferLayer",
    "TransferNetwork",
    "alternating",
    "bottom",
    "code",
    "every",
    "explicit",
    "index_of",
    "top",
]
