caffe train solver.prototxt
