"""The native operators in plain torch: the specification, written for reading, and the oracle of the tests.

Each function has the name, the arguments and the meaning of its twin in `neural3d.ops`, works in any float dtype on any
device, and is differentiated by autograd. Nothing here is fast, and nothing chooses it unasked.
"""
