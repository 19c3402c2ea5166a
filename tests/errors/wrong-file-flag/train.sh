caffe test --model=solver.prototxt --weights=net.prototxt
