"""Flags of train.py that say how the data is read."""


def add_data_flags(parser):
    """Adds the flags to an argparse parser."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--shuffle",
        action="store_true",
        help="read the training data in a new order in each round",
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        help="pass over records that cannot be read, and say how many at the end",
    )


def data_options(args, seed, phase="TRAIN"):
    """What the functions of data.py take, of a seed and the flags: options of Batches."""
    shuffle = args.shuffle and phase == "TRAIN"
    return {"seed": seed, "shuffle": shuffle, "skip_bad": args.skip_bad}
