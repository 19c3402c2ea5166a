caffe train --solver=s.prototxt --weights=a.caffemodel --snapshot=b.solverstate
