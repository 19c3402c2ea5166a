caffe train --solver=solver.prototxt $MORE_FLAGS "$@"
