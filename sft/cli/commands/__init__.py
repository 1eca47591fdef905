"""One module per sub-command: its options and its help."""
