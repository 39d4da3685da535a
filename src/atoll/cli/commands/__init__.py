"""One file per command, called as the command is."""
