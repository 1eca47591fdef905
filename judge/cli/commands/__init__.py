"""One module per command: its options and help; the work lies behind lazy imports."""
