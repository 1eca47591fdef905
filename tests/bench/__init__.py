"""``make bench``: what the work takes, beside a peer or a limit that is measured in the same run.

``python -m tests.bench`` runs all parts, ``python -m tests.bench NAME ...`` some. Of scoring:
throughput, cpu, memory, tokens; the server is a process of its own on loopback and shares the
machine's cores with the client. Of training data: packing, duplicates, contamination, scrubbing,
blend. Repeats are interleaved, and tables give the median with the range.
"""
