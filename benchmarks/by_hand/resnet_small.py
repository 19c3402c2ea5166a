"""A small ResNet as one would write it in Keras: python resnet_small.py DATA.npz ITERATIONS."""

import sys

import keras
import numpy as np
from keras import layers

BATCH_SIZE = 30


def convolution(x, filters, size, strides=1, relu=True):
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x


def block(x, filters, strides=1):
    shortcut = x if strides == 1 else convolution(x, filters, 1, strides, relu=False)
    x = convolution(x, filters, 3, strides)
    x = convolution(x, filters, 3, relu=False)
    return layers.ReLU()(layers.Add()([shortcut, x]))


def build_model():
    image = keras.Input((32, 32, 3))
    x = convolution(image, 12, 3)
    x = block(x, 12)
    x = block(x, 24, strides=2)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(2)(x))


def main(path, iterations):
    with np.load(path) as data:
        mean = np.array([104, 117, 123], "float32")
        images, labels = (data["images"] - mean) * 0.017, data["labels"]
    model = build_model()
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.0005),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    epochs = -(-iterations * BATCH_SIZE // len(images))
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
