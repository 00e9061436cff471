"""The command line of Qudao: run it, play a day, audit it."""
