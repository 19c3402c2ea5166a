"""Caffe's weight files, and how their blobs become Keras's weights."""
