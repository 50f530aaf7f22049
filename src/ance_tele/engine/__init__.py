"""Where work units run: in this process, in others of this machine, as ranks of a launcher, on a Ray cluster."""
