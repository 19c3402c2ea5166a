caffe train --solver=solver.prototxt --iterations=100
