#!/bin/sh
echo caffe train --solver=solver.prototxt
python train.py
