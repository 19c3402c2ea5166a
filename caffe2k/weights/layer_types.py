"""Today's names of the layer types that V0 and V1 files name in their own way."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

V1_LAYER_TYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "Accuracy",
        2: "BNLL",
        3: "Concat",
        4: "Convolution",
        5: "Data",
        6: "Dropout",
        7: "EuclideanLoss",
        8: "Flatten",
        9: "HDF5Data",
        10: "HDF5Output",
        11: "Im2col",
        12: "ImageData",
        13: "InfogainLoss",
        14: "InnerProduct",
        15: "LRN",
        16: "MultinomialLogisticLoss",
        17: "Pooling",
        18: "ReLU",
        19: "Sigmoid",
        20: "Softmax",
        21: "SoftmaxWithLoss",
        22: "Split",
        23: "TanH",
        24: "WindowData",
        25: "Eltwise",
        26: "Power",
        27: "SigmoidCrossEntropyLoss",
        28: "HingeLoss",
        29: "MemoryData",
        30: "ArgMax",
        31: "Threshold",
        32: "DummyData",
        33: "Slice",
        34: "MVN",
        35: "AbsVal",
        36: "Silence",
        37: "ContrastiveLoss",
        38: "Exp",
        39: "Deconvolution",
    }
)
"""Numbers of V1LayerParameter.LayerType (util/upgrade_proto.cpp, UpgradeV1LayerType)."""

V0_LAYER_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "Accuracy",
        "bnll": "BNLL",
        "concat": "Concat",
        "conv": "Convolution",
        "data": "Data",
        "dropout": "Dropout",
        "euclidean_loss": "EuclideanLoss",
        "flatten": "Flatten",
        "hdf5_data": "HDF5Data",
        "hdf5_output": "HDF5Output",
        "im2col": "Im2col",
        "images": "ImageData",
        "infogain_loss": "InfogainLoss",
        "innerproduct": "InnerProduct",
        "lrn": "LRN",
        "multinomial_logistic_loss": "MultinomialLogisticLoss",
        "pool": "Pooling",
        "relu": "ReLU",
        "sigmoid": "Sigmoid",
        "softmax": "Softmax",
        "softmax_loss": "SoftmaxWithLoss",
        "split": "Split",
        "tanh": "TanH",
        "window_data": "WindowData",
    }
)
"""Names of V0 layers (util/upgrade_proto.cpp, UpgradeV0LayerType)."""
