"""The exported policy: written by training, read by evaluation and serving."""
