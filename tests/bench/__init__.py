"""``make bench``: what scoring takes, beside a peer or a limit that is measured in the same run.

``python -m tests.bench`` runs all parts, ``python -m tests.bench NAME ...`` some: throughput, cpu,
memory, tokens. The server is a process of its own on loopback and shares the machine's cores with
the client; repeats are interleaved, and tables give the median with the range.
"""
