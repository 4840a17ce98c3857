"""Server for assistants (Model Context Protocol): plan freely, pay for reviewed plans only.

An extra: `pip install 'kling-batch[mcp]'`.
"""
