"""galileod: an upload daemon for the GalileoSend protocol."""

__version__ = "0.1.0"
