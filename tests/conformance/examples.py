"""Small nets with the layer types that no case of the suite has."""

from __future__ import annotations

_IMAGE = """
layer { name: "x" type: "Input" top: "x"
  input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }
"""
_TWO_IMAGES = _IMAGE + _IMAGE.replace('"x"', '"y"')
_VECTORS = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }
layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 } } }
"""
_REGIONS = """
layer { name: "r" type: "Input" top: "r" input_param { shape { dim: 3 dim: 5 } } }
"""
_STEP = """
layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 1 dim: 2 dim: 3 } } }
layer { name: "g" type: "Input" top: "g" input_param { shape { dim: 1 dim: 2 dim: 12 } } }
layer { name: "s" type: "Input" top: "s" input_param { shape { dim: 1 dim: 2 } } }
"""


def _layer(kind: str, bottoms: str, param: str = "", tops: int = 1) -> str:
    bottom = "".join(f' bottom: "{name}"' for name in bottoms.split())
    top = "".join(f' top: "top{i}"' for i in range(tops))
    return f'layer {{ name: "op" type: "{kind}"{bottom}{top} {param} }}\n'


EXAMPLES = {
    "Axpy": """
layer { name: "a" type: "Input" top: "a"
  input_param { shape { dim: 2 dim: 4 dim: 1 dim: 1 } } }
"""
    + _TWO_IMAGES
    + _layer("Axpy", "a x y"),
    "BN": _IMAGE + _layer("BN", "x"),
    "BoxAnnotatorOHEM": _REGIONS
    + "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}"'
        f" input_param {{ shape {{ dim: 3 dim: {channels} }} }} }}\n"
        for name, channels in (("x", 1), ("y", 1), ("w", 8))
    )
    + _layer(
        "BoxAnnotatorOHEM", "r x y w", "box_annotator_ohem_param { roi_per_img: 2 }", 2
    ),
    "CReLU": _IMAGE + _layer("CReLU", "x"),
    "CenterLoss": _VECTORS
    + _layer("CenterLoss", "x y", "center_loss_param { num_output: 3 }"),
    "ConvolutionDepthwise": _IMAGE
    + _layer("ConvolutionDepthwise", "x", "convolution_param { kernel_size: 3 }"),
    "DepthwiseConvolution": _IMAGE
    + _layer(
        "DepthwiseConvolution",
        "x",
        "convolution_param { num_output: 4 kernel_size: 3 }",
    ),
    "Flip": _IMAGE + _layer("Flip", "x"),
    "GeneralTripletLoss": _VECTORS + _layer("GeneralTripletLoss", "x y"),
    "HDF5Output": _IMAGE + _layer("HDF5Output", "x x", "", 0),
    "Interp": _IMAGE + _layer("Interp", "x", "interp_param { zoom_factor: 2 }"),
    "L1Loss": _TWO_IMAGES + _layer("L1Loss", "x y"),
    "LSTMUnit": _STEP + _layer("LSTMUnit", "c g s", "", 2),
    "Lstm": _VECTORS + _layer("Lstm", "x y", "lstm_param { num_output: 3 }"),
    "MarginInnerProduct": _VECTORS
    + _layer(
        "MarginInnerProduct",
        "x y",
        "margin_inner_product_param { num_output: 3 type: DOUBLE }",
    ),
    "PSROIPooling": _IMAGE
    + _REGIONS
    + _layer(
        "PSROIPooling",
        "x r",
        "psroi_pooling_param { spatial_scale: 1 output_dim: 1 group_size: 2 }",
    ),
    "ROIPooling": _IMAGE
    + _REGIONS
    + _layer("ROIPooling", "x r", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }"),
    "ReLU6": _IMAGE + _layer("ReLU6", "x"),
    "Reorg": _IMAGE + _layer("Reorg", "x", "reorg_param { stride: 2 }"),
    "ShuffleChannel": _IMAGE
    + _layer("ShuffleChannel", "x", "shuffle_channel_param { group: 2 }"),
    "Upsample": _IMAGE + _layer("Upsample", "x", "upsample_param { scale: 2 }"),
    "WeightedEuclideanLoss": _TWO_IMAGES
    + _IMAGE.replace('"x"', '"w"')
    + _layer("WeightedEuclideanLoss", "x y w"),
}
