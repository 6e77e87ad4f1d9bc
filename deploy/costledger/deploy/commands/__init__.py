"""The commands, one module per group. What is heavy is imported inside them, so that `--help` is quick."""
