"""Rows: what one is, and how any container of any common format becomes them."""
