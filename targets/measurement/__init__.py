"""The measurement server: firmware that runs one kernel after the other, and who talks to it."""
