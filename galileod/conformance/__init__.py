"""galileo-conformance: judges clients and servers of GalileoSend over the wire."""
