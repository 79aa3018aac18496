"""The broker: connection, publisher, RPC, topology, permissions."""
