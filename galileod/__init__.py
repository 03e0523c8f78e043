"""galileod: an upload daemon for the GalileoSend protocol."""

from importlib.metadata import version

__version__ = version("galileod")
