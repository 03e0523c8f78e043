"""Authentication: tokens that an administrator issues, and tickets that an application signs."""
