"""The value of learning: where a learned policy beats the best rule, and where it does not."""
