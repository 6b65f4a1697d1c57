"""The ground floor: files written whole, the device, stores of features and of fits, worker processes."""
