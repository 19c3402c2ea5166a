"""Cases of our own suite whose layers are not supported yet, and why."""

NOT_YET: dict[str, str] = {}

NOT_YET_TRAINED: dict[str, str] = {}
