"""The TLS proxy node: TLS, HTTP, scheduling and persistence cores behind an asyncio shell."""
