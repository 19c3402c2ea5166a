caffe train --solver=solver.prototxt --sigint_effect=snapshot --sighup_effect=none
