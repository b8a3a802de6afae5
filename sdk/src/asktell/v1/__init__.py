"""The protos of the contract as Python, written by `make proto`; never edit them."""
