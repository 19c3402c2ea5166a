"""inception_block, from net.prototxt."""

import keras
from keras import initializers, layers


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    data = keras.Input((7, 7, 4), name="data")
    b1 = layers.Conv2D(
        2,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.2),
        bias_initializer=initializers.RandomNormal(stddev=0.3),
        name="b1",
    )(data)
    b2 = layers.Conv2D(
        3,
        3,
        padding="same",
        kernel_initializer=initializers.RandomNormal(stddev=0.2),
        bias_initializer=initializers.RandomNormal(stddev=0.3),
        name="b2",
    )(data)
    b3 = layers.Conv2D(
        2,
        5,
        padding="same",
        kernel_initializer=initializers.RandomNormal(stddev=0.2),
        bias_initializer=initializers.RandomNormal(stddev=0.3),
        name="b3",
    )(data)
    x = layers.MaxPooling2D(3, strides=1, padding="same", name="bp")(data)
    x = layers.Concatenate(name="cat")([b1, b2, b3, x])
    return keras.Model(data, x, name="inception_block")
