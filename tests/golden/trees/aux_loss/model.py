"""digits_cnn, from train_val.prototxt."""

import keras
from keras import initializers, layers

from caffe_runtime.losses import SoftmaxWithLoss
from caffe_runtime.metrics import Accuracy

LOSS_WEIGHTS = {"aux": 0.3, "ip": 1.0}


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    data = keras.Input((8, 8, 1), name="data")
    conv = layers.Conv2D(
        4,
        3,
        activation="relu",
        kernel_initializer="lecun_uniform",
        bias_initializer=initializers.Constant(0.1),
        name="conv",
    )(data)
    x = layers.MaxPooling2D(2, name="pool")(conv)
    x = layers.Flatten()(x)
    ip = layers.Dense(
        10,
        kernel_initializer="lecun_uniform",
        bias_initializer=initializers.Constant(0.1),
        name="ip",
    )(x)
    x = layers.Flatten()(conv)
    x = layers.Dense(10, kernel_initializer="lecun_uniform", name="aux")(x)
    return keras.Model(data, {"aux": x, "ip": ip}, name="digits_cnn")


def losses():
    """Returns the net's losses as compile() takes them."""
    return {"aux": SoftmaxWithLoss(), "ip": SoftmaxWithLoss()}


def metrics():
    """Returns the net's metrics as compile() takes them."""
    return {"ip": [Accuracy()]}
