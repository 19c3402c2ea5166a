#!/bin/sh
for solver in a b; do
  caffe train --solver=$solver.prototxt
done
