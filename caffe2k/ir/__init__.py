"""The net between Caffe and Keras: frozen dataclasses that passes fill and ops read."""
