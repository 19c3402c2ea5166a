"""Where the blobs of deploy.prototxt are in the model of model.py.

`blob_values` of caffe_runtime.blobs takes an entry of BLOBS and gives its values.
"""

from caffe_runtime.blobs import Blob

BLOBS = {
    "conv1_1": Blob("conv1_1", (0, 2, 3, 1), after=("relu1_1",)),
    "conv1_2": Blob("conv1_2", (0, 2, 3, 1), after=("relu1_2",)),
    "pool1": Blob("drop1", (0, 2, 3, 1), after=("drop1",)),
    "conv2_1": Blob("conv2_1", (0, 2, 3, 1), after=("relu2_1",)),
    "conv2_2": Blob("conv2_2", (0, 2, 3, 1), after=("relu2_2",)),
    "pool2": Blob("drop2", (0, 2, 3, 1), after=("drop2",)),
    "fc3": Blob("drop3", (0, 1), after=("relu3", "drop3")),
    "fc4": Blob("fc4", (0, 1)),
    "prob": Blob("prob", (0, 1)),
}
