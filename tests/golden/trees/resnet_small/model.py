"""ResNetSmall, from train_val.prototxt."""

import keras
from keras import initializers, layers

from caffe_runtime.elementwise import Scale
from caffe_runtime.losses import SoftmaxWithLoss
from caffe_runtime.metrics import Accuracy
from caffe_runtime.normalization import BatchNorm


def msra():
    """Returns a new initializer, with values of its own."""
    return initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def build_model():
    """Returns the net as a keras.Model with freshly initialized weights."""
    # the JPEG patches of the sample vgg_like; one mean per channel, in the order B G R
    data = keras.Input((32, 32, 3), name="data")
    # the stem
    x = layers.Conv2D(
        12, 3, padding="same", use_bias=False, kernel_initializer=msra(), name="conv1"
    )(data)
    # the batch's statistics in TRAIN, the running ones in TEST: here said in so many words
    x = BatchNorm(name="bn_conv1")(x)
    x = Scale([3], use_bias=True, name="scale_conv1")(x)
    conv1 = layers.ReLU(name="conv1_relu")(x)
    # block 2: the identity plus two convolutions
    x = layers.Conv2D(
        12,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=msra(),
        name="res2_branch2a",
    )(conv1)
    x = BatchNorm(name="bn_2_branch2a")(x)
    x = Scale([3], use_bias=True, name="scale_2_branch2a")(x)
    x = layers.ReLU(name="res2_branch2a_relu")(x)
    x = layers.Conv2D(
        12,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=msra(),
        name="res2_branch2b",
    )(x)
    x = BatchNorm(name="bn_2_branch2b")(x)
    x = Scale([3], use_bias=True, name="scale_2_branch2b")(x)
    x = layers.Add(name="res2")([conv1, x])
    res2 = layers.ReLU(name="res2_relu")(x)
    # block 3: a projection, because the shape changes
    x = layers.Conv2D(
        24, 1, strides=2, use_bias=False, kernel_initializer=msra(), name="res3_branch1"
    )(res2)
    x = BatchNorm(name="bn_3_branch1")(x)
    res3_branch1 = Scale([3], use_bias=True, name="scale_3_branch1")(x)
    x = layers.ZeroPadding2D(1, name="res3_branch2a_pad")(res2)
    x = layers.Conv2D(
        24,
        3,
        strides=2,
        use_bias=False,
        kernel_initializer=msra(),
        name="res3_branch2a",
    )(x)
    x = BatchNorm(name="bn_3_branch2a")(x)
    x = Scale([3], use_bias=True, name="scale_3_branch2a")(x)
    x = layers.ReLU(name="res3_branch2a_relu")(x)
    x = layers.Conv2D(
        24,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=msra(),
        name="res3_branch2b",
    )(x)
    x = BatchNorm(name="bn_3_branch2b")(x)
    x = Scale([3], use_bias=True, name="scale_3_branch2b")(x)
    x = layers.Add(name="res3")([res3_branch1, x])
    x = layers.ReLU(name="res3_relu")(x)
    # one number per channel
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pool4")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(2, kernel_initializer=msra(), name="fc5")(x)
    return keras.Model(data, x, name="ResNetSmall")


def losses():
    """Returns the net's losses as compile() takes them."""
    return SoftmaxWithLoss()


def metrics():
    """Returns the net's metrics as compile() takes them."""
    # how often the best class is the right one; only when testing
    return [Accuracy()]
