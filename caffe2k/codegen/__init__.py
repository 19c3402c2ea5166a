"""Keras code as data, and how it is printed."""
