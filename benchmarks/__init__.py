"""The benchmark room: the matrix, the runner, the store and the shipped measurement tables."""
