"""Authentication: tokens that an administrator issues, tickets that an application signs."""
