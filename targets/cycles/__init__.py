"""Static pipeline models: exact block counts to estimated cycles."""
