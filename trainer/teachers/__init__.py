"""Who teaches: the student's own moving average, demonstrations by a served teacher, and whether that one is fit."""
