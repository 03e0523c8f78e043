"""Who may upload: tokens that an administrator hands out, tickets that an application signs."""
