"""Commands: flags, exit status and messages. No decision about an upload is made here."""
