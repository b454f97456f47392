"""Performance of the hot paths, as ratios against references measured in the same run."""
