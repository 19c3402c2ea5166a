"""Where the blobs of net.prototxt are in the model of model.py.

`blob_values` of caffe_runtime.blobs takes an entry of BLOBS and gives its values.
"""

from caffe_runtime.blobs import Blob

BLOBS = {
    "b1": Blob("b1", (0, 2, 3, 1)),
    "b2": Blob("b2", (0, 2, 3, 1)),
    "b3": Blob("b3", (0, 2, 3, 1)),
    "bp": Blob("bp", (0, 2, 3, 1)),
    "out": Blob("cat", (0, 2, 3, 1)),
}
