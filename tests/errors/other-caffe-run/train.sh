caffe train --solver=solver.prototxt
caffe test --model=net.prototxt --weights=net.caffemodel
