$TOOLS/caffe train --sovler=solver.prototxt --gpu 0
