"""Caffe's messages: generated from grammars/caffe.proto, and bound with their spans."""
