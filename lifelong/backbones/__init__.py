"""Network bodies as stacks of layers: the unit of sharing, freezing, growing and pruning."""

from lifelong.backbones.backbone import Backbone, Layer
from lifelong.backbones.convnet import ConvLayer, convnet, resnet17
from lifelong.backbones.mlp import LinearLayer, mlp

__all__ = ["Backbone", "ConvLayer", "Layer", "LinearLayer", "convnet", "mlp", "resnet17"]
