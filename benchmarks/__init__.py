"""Benchmarks: commands that print ratios against a floor or a peer measured in the same run. No timing is asserted."""
