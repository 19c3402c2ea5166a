"""The shapes of a net's data, read from the data itself."""

from caffe2k.sources.data_files import DataFiles

__all__ = ["DataFiles"]
