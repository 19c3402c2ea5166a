caffe train -gpu=first -sigint_effect=die -solver
