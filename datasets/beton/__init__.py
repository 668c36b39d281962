"""The beton file: format, writer, reader, sidecar and verification."""
