"""Graph passes on Relax: one file is one pass."""
