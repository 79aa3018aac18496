"""SQL as plain async functions, one file for each noun, the transaction first."""
