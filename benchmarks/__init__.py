"""The benchmark suite: carrunsd beside what people use instead, measured in one run.  ``python -m benchmarks``."""
