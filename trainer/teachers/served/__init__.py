"""The served teacher: the only room that speaks HTTP."""
