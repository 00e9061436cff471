"""Figures of Qudao beside the plain way of doing the same, in the same run on the same machine."""
