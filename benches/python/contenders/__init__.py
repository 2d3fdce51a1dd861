"""One small file for each contender, written as its own documentation recommends.

A file holds a class `Contender`, made of a `harness.setup.Setup`, with what its library can do of:

    build()               a new agent with the two tools, over the model and client that are there
    async chat()          the text of one call without tools
    async agent()         the answer of a run with the tools
    async tokens()        the text of one streamed reply, and in how many pieces it came
    async close()           where it has to
    chat_sync(), agent_sync()    the same through a blocking call

What stands at the top of the file is what `import alone` imports.
"""
