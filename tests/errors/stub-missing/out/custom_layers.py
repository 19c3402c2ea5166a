class Other:
    """Not the one that the net needs."""
