"""Net to net, one concern a file."""
