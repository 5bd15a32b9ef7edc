"""Programs that run on a host and take what it has. Each is one file, sent as it stands here.

The standard library of Python 3.6 is all that may be used. A program prints a line of `name=number` whenever its
figures change; the first says that it is at work, the last one holds. It ends when its parent is another than at first.
"""
