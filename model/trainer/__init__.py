"""The trainer: a process that does what the operator orders, one order at a time, each in a process of its own.

It holds no library that computes, and so takes little memory while there is nothing to do.
"""
