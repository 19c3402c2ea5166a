"""Keras layers, losses and tools with Caffe's semantics, copied as they are."""
