"""`python -m caffe2k` is the same as `caffe2k`."""

from caffe2k.cli import main

main(prog_name="caffe2k")
