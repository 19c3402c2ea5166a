"""VGGLike, from deploy.prototxt."""

import keras
from keras import initializers, layers


def msra():
    """Returns a new initializer, with values of its own."""
    return initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    model = keras.Sequential(name="VGGLike")
    model.add(keras.Input((28, 28, 3), name="data"))
    # block 1: two 3x3 convolutions, pooling, dropout
    model.add(
        layers.Conv2D(
            12, 3, activation="relu", kernel_initializer=msra(), name="conv1_1"
        )
    )
    model.add(
        layers.Conv2D(
            12, 3, activation="relu", kernel_initializer=msra(), name="conv1_2"
        )
    )
    model.add(layers.MaxPooling2D(2, name="pool1"))
    model.add(layers.Dropout(0.25, name="drop1"))
    # block 2: two 3x3 convolutions, pooling, dropout
    model.add(
        layers.Conv2D(
            16, 3, activation="relu", kernel_initializer=msra(), name="conv2_1"
        )
    )
    model.add(
        layers.Conv2D(
            16, 3, activation="relu", kernel_initializer=msra(), name="conv2_2"
        )
    )
    model.add(layers.MaxPooling2D(2, name="pool2"))
    model.add(layers.Dropout(0.25, name="drop2"))
    # the classifier
    model.add(layers.Flatten())
    model.add(
        layers.Dense(
            256, activation="relu", kernel_initializer="lecun_uniform", name="fc3"
        )
    )
    model.add(layers.Dropout(0.5, name="drop3"))
    model.add(layers.Dense(2, kernel_initializer="lecun_uniform", name="fc4"))
    model.add(layers.Softmax(name="prob"))
    return model
