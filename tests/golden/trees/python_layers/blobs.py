"""Where the blobs of python_layers.prototxt are in the model of model.py.

`blob_values` of caffe_runtime.blobs takes an entry of BLOBS and gives its values.
"""

from caffe_runtime.blobs import Blob

BLOBS = {
    "conv": Blob("norm_again", (0, 1, 2, 3), after=("norm", "norm_again")),
    "rois": Blob("proposal", (0,)),
    "scores": Blob("proposal", (0,), output=1),
}
