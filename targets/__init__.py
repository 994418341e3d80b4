"""Cores, boards, toolchain, firmware projects and the emulator."""
