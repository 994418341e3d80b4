"""Lowered TIR and a memory plan to readable C99."""
