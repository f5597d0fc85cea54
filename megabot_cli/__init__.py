"""The operator's console, local relay and gateway for MegaBot's WebSocket API."""
