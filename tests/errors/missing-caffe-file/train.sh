caffe train --solver=models/solver.prototxt
