"""What is promised in numbers, measured: `python -m bench` prints each as `BENCH name value unit bar ok|short`."""
