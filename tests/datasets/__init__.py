"""Tests of caffe2k.datasets and of the commands `caffe2k data ...`."""
