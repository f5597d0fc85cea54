"""What messages mean. No socket, clock, log or random source.

Everything here is plain objects: something happened goes in, what to do comes out.
"""
