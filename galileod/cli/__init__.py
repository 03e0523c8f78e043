"""The commands: flags, exit statuses and messages. Contains no rules about uploads."""
