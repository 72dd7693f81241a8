"""Data written by the served teacher: recipes, rules, and the pipeline that follows them."""
