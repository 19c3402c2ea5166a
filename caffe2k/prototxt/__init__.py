"""The text format: reads nets and solvers, brings them up to date, and prints them."""

from caffe2k.prototxt.print import to_prototxt
from caffe2k.prototxt.read import load, read, read_net, read_solver
from caffe2k.prototxt.upgrade import upgrade

__all__ = ["load", "read", "read_net", "read_solver", "to_prototxt", "upgrade"]
