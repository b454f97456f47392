"""Builders of the registered networks. `coinfer.models` names them and says whose they are.

Every builder takes `classes` and returns an untrained network. torchvision's own networks are used
where a paper uses them; the others are written here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from coinfer.torchlib import import_torchvision

# Channels of VGG16's convolutions, "M" for a halving max pool (configuration D).
_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")

# (channels, stride) of MobileNet's depthwise separable blocks; at 32x32 the stem keeps the size.
_MOBILENET_V1 = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


def alexnet(classes: int) -> nn.Module:
    """AlexNet as in torchvision, for 224x224 inputs."""
    return _torchvision("alexnet", classes)


def alexnet_cifar(classes: int, hidden: int = 1024) -> nn.Module:
    """AlexNet for 32x32 inputs: five convolutions down to 256 features, then three linear layers.

    Args:
        classes: outputs.
        hidden: width of the first linear layer; the second is 84 wide.
    """
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    )
    classifier = nn.Sequential(
        *(nn.Linear(256, hidden), nn.ReLU()),
        *(nn.Linear(hidden, 84), nn.ReLU()),
        nn.Linear(84, classes),
    )
    return _chain(features=features, flatten=nn.Flatten(), classifier=classifier)


def regnet_x_400mf(classes: int) -> nn.Module:
    """RegNetX-400MF as in torchvision, for 224x224 inputs."""
    return _torchvision("regnet_x_400mf", classes)


def regnet_x_400mf_cifar(classes: int) -> nn.Module:
    """RegNetX-400MF with torchvision's block settings; stem and first stage keep 32x32."""
    import_torchvision()
    from torchvision.models.regnet import BlockParams, RegNet

    with torch.device("cpu"):  # the settings are computed with tensors, whatever the device
        settings = BlockParams.from_init_params(
            depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16
        )
    settings.strides = [1, *settings.strides[1:]]
    network: nn.Module = RegNet(settings, num_classes=classes, stem_type=_regnet_stem)
    return network


def resnet18_cifar(classes: int) -> nn.Module:
    """ResNet-18 with the CIFAR stem: one 3x3 convolution of stride 1, no max pool."""
    return _with_cifar_stem(_torchvision("resnet18", classes))


def resnet50_cifar(classes: int) -> nn.Module:
    """ResNet-50 with the CIFAR stem: one 3x3 convolution of stride 1, no max pool."""
    return _with_cifar_stem(_torchvision("resnet50", classes))


def vgg16_cifar(classes: int) -> nn.Module:
    """VGG16's convolutions with batch normalisation for 32x32 inputs, then one linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for width in _VGG16:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [*_conv_norm(channels, width, 3), nn.ReLU()]
            channels = width
    features = nn.Sequential(*layers)
    return _chain(features=features, flatten=nn.Flatten(), classifier=nn.Linear(channels, classes))


def mobilenet_v1_cifar(classes: int) -> nn.Module:
    """MobileNet (version 1, width 1) for 32x32 inputs: depthwise separable convolutions."""
    stem = 32
    blocks = [
        _separable(before, width, stride)
        for (before, _), (width, stride) in pairwise([(stem, 1), *_MOBILENET_V1])
    ]
    return _chain(
        stem=nn.Sequential(*_conv_norm(3, stem, 3), nn.ReLU()),
        blocks=nn.Sequential(*blocks),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(_MOBILENET_V1[-1][0], classes),
    )


def mobilenet_v2(classes: int) -> nn.Module:
    """MobileNetV2 as in torchvision, for 224x224 inputs."""
    return _torchvision("mobilenet_v2", classes)


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "alexnet-cifar": alexnet_cifar,
    "mobilenet_v1": mobilenet_v1_cifar,
    "mobilenet_v2": mobilenet_v2,
    "regnet_x_400mf": regnet_x_400mf,
    "regnet_x_400mf-cifar": regnet_x_400mf_cifar,
    "resnet18": resnet18_cifar,
    "resnet50": resnet50_cifar,
    "vgg16": vgg16_cifar,
}


def _torchvision(name: str, classes: int) -> nn.Module:
    import_torchvision()
    from torchvision.models import get_model

    network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network


def _regnet_stem(width_in: int, width_out: int, norm_layer: Any, activation: Any) -> nn.Module:
    """RegNet's stem with stride 1, in the form in which torchvision asks for one."""
    from torchvision.ops import Conv2dNormActivation

    stem: nn.Module = Conv2dNormActivation(
        width_in,
        width_out,
        kernel_size=3,
        stride=1,
        norm_layer=norm_layer,
        activation_layer=activation,
    )
    return stem


def _with_cifar_stem(resnet: Any) -> nn.Module:
    """Replace the first convolution and the max pool of torchvision's ResNet."""
    resnet.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    resnet.maxpool = nn.Identity()
    network: nn.Module = resnet
    return network


def _conv_norm(
    channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A size-keeping convolution (before its stride) and its batch normalisation."""
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    # By fan-in: the fan-out that torch computes for a depthwise convolution ignores its groups.
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return [conv, nn.BatchNorm2d(width)]


def _separable(channels: int, width: int, stride: int) -> nn.Module:
    """A depthwise 3x3 convolution, then a pointwise one, each normalised and rectified."""
    return nn.Sequential(
        *(*_conv_norm(channels, channels, 3, stride, groups=channels), nn.ReLU()),
        *(*_conv_norm(channels, width, 1), nn.ReLU()),
    )


def _chain(**parts: nn.Module) -> nn.Module:
    """Run named parts one after the other."""
    return nn.Sequential(OrderedDict(parts))
