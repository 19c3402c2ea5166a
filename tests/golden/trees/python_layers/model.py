"""PythonLayers, from python_layers.prototxt."""

import keras
from keras import layers

import custom_layers


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    data = keras.Input((8, 8, 3), name="data")
    x = layers.Conv2D(4, 3, name="conv")(data)
    x = layers.Permute((3, 1, 2), name="conv_transpose")(x)
    # Its top has the shape of its bottom, as it is the same blob.
    x = custom_layers.ChannelNorm(
        param_str="{'eps': 1e-6}", top_shapes=[(None, 4, 6, 6)], name="norm"
    )(x)
    conv = custom_layers.ChannelNorm(top_shapes=[(None, 4, 6, 6)], name="norm_again")(x)
    x = layers.Permute((3, 1, 2), name="data_transpose")(data)
    rois, scores = custom_layers.ProposalLayer(
        top_shapes=[(None,), (None,)], name="proposal"
    )([conv, x])
    return keras.Model(data, {"rois": rois, "scores": scores}, name="PythonLayers")
