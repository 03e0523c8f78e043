"""The configuration file, read strictly. Opens no other file and no socket."""
