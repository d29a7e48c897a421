"""Benchmarks: ratios against a peer, or against the machine's own limit, measured in the same run."""
