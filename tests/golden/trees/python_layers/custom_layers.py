"""Layers that the translation could not write: each call() is yours.

This file is written once; a later translation leaves it as it is.
"""

import keras


@keras.saving.register_keras_serializable(package="custom_layers")
class ChannelNorm(keras.layers.Layer):
    """Stands for the Python layer layers.norm.ChannelNorm.

    Tensors have Caffe's axes, (N, C, H, W).

    Layer norm, python_layers.prototxt line 18:
        bottom conv (2, 4, 6, 6)
        top conv (2, 4, 6, 6)

    Layer norm_again, python_layers.prototxt line 29:
        bottom conv (2, 4, 6, 6)
        top conv (2, 4, 6, 6)
    """

    def __init__(self, param_str="", top_shapes=None, **kwargs):
        super().__init__(**kwargs)
        self.param_str = param_str
        self.top_shapes = top_shapes

    def call(self, inputs):
        """Returns the top, or a list of tops; `inputs` is the bottom, or a list."""
        raise NotImplementedError(
            "write ChannelNorm.call(): "
            "it stands for the Python layer layers.norm.ChannelNorm"
        )

    def compute_output_shape(self, input_shape):
        return self.top_shapes[0] if len(self.top_shapes) == 1 else self.top_shapes

    def get_config(self):
        return {
            **super().get_config(),
            "param_str": self.param_str,
            "top_shapes": self.top_shapes,
        }


@keras.saving.register_keras_serializable(package="custom_layers")
class ProposalLayer(keras.layers.Layer):
    """Stands for the Python layer rpn.proposal_layer.ProposalLayer.

    Tensors have Caffe's axes, (N, C, H, W).

    Layer proposal, python_layers.prototxt line 36:
        bottom conv (2, 4, 6, 6)
        bottom data (2, 3, 8, 8)
        top rois of unknown shape
        top scores of unknown shape
    """

    def __init__(self, param_str="", top_shapes=None, **kwargs):
        super().__init__(**kwargs)
        self.param_str = param_str
        self.top_shapes = top_shapes

    def call(self, inputs):
        """Returns the top, or a list of tops; `inputs` is the bottom, or a list."""
        raise NotImplementedError(
            "write ProposalLayer.call(): "
            "it stands for the Python layer rpn.proposal_layer.ProposalLayer"
        )

    def compute_output_shape(self, input_shape):
        return self.top_shapes[0] if len(self.top_shapes) == 1 else self.top_shapes

    def get_config(self):
        return {
            **super().get_config(),
            "param_str": self.param_str,
            "top_shapes": self.top_shapes,
        }
