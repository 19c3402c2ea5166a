"""DigitsLeNet, from train_val.prototxt."""

import keras
from keras import layers

from caffe_runtime.losses import SoftmaxWithLoss
from caffe_runtime.metrics import Accuracy


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    model = keras.Sequential(name="DigitsLeNet")
    # 28x28 grey digits; the scale maps 0..255 to 0..1
    model.add(keras.Input((28, 28, 1), name="data"))
    # two convolutions with pooling
    model.add(layers.Conv2D(20, 5, kernel_initializer="lecun_uniform", name="conv1"))
    model.add(layers.MaxPooling2D(2, name="pool1"))
    model.add(layers.Conv2D(50, 5, kernel_initializer="lecun_uniform", name="conv2"))
    model.add(layers.MaxPooling2D(2, name="pool2"))
    # the classifier
    model.add(layers.Flatten())
    model.add(
        layers.Dense(
            64, activation="relu", kernel_initializer="lecun_uniform", name="ip1"
        )
    )
    model.add(layers.Dense(10, kernel_initializer="lecun_uniform", name="ip2"))
    return model


def losses():
    """Returns the net's losses as compile() takes them."""
    return SoftmaxWithLoss()


def metrics():
    """Returns the net's metrics as compile() takes them."""
    # how often the best class is the right one; only when testing
    return [Accuracy()]
