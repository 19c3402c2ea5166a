caffe train --solver=solver.prototxt
