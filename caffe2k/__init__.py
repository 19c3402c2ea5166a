"""caffe2k turns Caffe projects into Keras projects that train the same."""

__version__ = "0.1.0"
