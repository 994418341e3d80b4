"""int8 and float models to Cortex-M firmware, on Apache TVM."""
