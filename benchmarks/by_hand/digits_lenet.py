"""LeNet on digits as one would write it in Keras: python digits_lenet.py DATA.npz ITERATIONS."""

import sys

import keras
import numpy as np
from keras import layers

BATCH_SIZE = 50


def build_model():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


def main(path, iterations):
    with np.load(path) as data:
        images, labels = data["images"].astype("float32") / 256, data["labels"]
    model = build_model()
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.02, 1, 0.0005)
    model.compile(
        optimizer=keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=0.0005),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    epochs = -(-iterations * BATCH_SIZE // len(images))
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
