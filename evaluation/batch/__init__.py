"""The nightly batch: order lines for whole networks, tables in, one table out."""
