"""Network bodies as stacks of layers: the unit of sharing, freezing, growing and pruning."""

from lifelong.backbones.backbone import Backbone, Body, Layer
from lifelong.backbones.blocks import Block
from lifelong.backbones.by_name import Timm, Torchvision
from lifelong.backbones.convnet import ConvLayer, convnet, resnet17
from lifelong.backbones.mlp import LinearLayer, mlp
from lifelong.backbones.pretrained import AlexNet, ResNet18
from lifelong.backbones.resnet import PreActivationResNet18, ReducedResNet
from lifelong.backbones.unit import Unit
from lifelong.backbones.wrapped import Module, Wrapped

__all__ = [
    "AlexNet",
    "Backbone",
    "Block",
    "Body",
    "ConvLayer",
    "Layer",
    "LinearLayer",
    "Module",
    "PreActivationResNet18",
    "ReducedResNet",
    "ResNet18",
    "Timm",
    "Torchvision",
    "Unit",
    "Wrapped",
    "convnet",
    "mlp",
    "resnet17",
]
