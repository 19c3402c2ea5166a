mpirun -np 2 caffe train --solver=solver.prototxt
